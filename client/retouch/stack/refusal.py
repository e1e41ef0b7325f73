"""The one family of reasons for which the service cannot be started on this machine."""


class StackRefused(Exception):
    """Raised when the stack cannot be started; its text says why and what to do."""


class PortTaken(StackRefused):
    """Raised when a port cannot be bound."""


class FolderRefused(StackRefused):
    """Raised when a data folder cannot be written, or another stack works in it."""


class NoStore(StackRefused):
    """Raised when the store that the environment names does not answer."""


class ChildFailed(StackRefused):
    """Raised when a process ends while the stack is being started; shows its last lines."""
