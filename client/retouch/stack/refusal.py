"""The reasons why the service cannot be started on this machine, and the user's interruption.

Imported by the command line itself; needs none of the server's packages.
"""


class StackRefused(Exception):
    """Raised when the stack cannot be started; its text says why and what to do."""


class Interrupted(Exception):
    """Raised when the user interrupts before the stack is ready."""


class PortTaken(StackRefused):
    """Raised when a port cannot be bound."""


class FolderRefused(StackRefused):
    """Raised when a data folder cannot be written, or another stack uses it."""


class NoStore(StackRefused):
    """Raised when the store named by the environment does not answer."""


class ChildFailed(StackRefused):
    """Raised when a process ends during the start of the stack; shows its last lines."""
