"""Why the service cannot be started on this machine: one family, and the user's own wish.

Imported by the command line itself; needs none of the server's packages.
"""


class StackRefused(Exception):
    """Raised when the stack cannot be started; its text says why and what to do."""


class Interrupted(Exception):
    """Raised when the user asks for the end before the stack is ready."""


class PortTaken(StackRefused):
    """Raised when a port cannot be bound."""


class FolderRefused(StackRefused):
    """Raised when a data folder cannot be written, or another stack works in it."""


class NoStore(StackRefused):
    """Raised when the store that the environment names does not answer."""


class ChildFailed(StackRefused):
    """Raised when a process ends while the stack is being started; shows its last lines."""
