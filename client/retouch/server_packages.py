"""The message when a command needs the server's packages and only the client is installed.

Owns that message. Commands import those packages inside `server_packages`, never at the top of a
module, so that the client alone starts without them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

INSTALL = "In a checkout of retouch: `make install`, or `pip install '.[worker]'`."


class ServerPackagesMissing(Exception):
    """Raised when a package of the server is not installed; its text says how to install it."""


@contextmanager
def server_packages(purpose: str) -> Iterator[None]:
    """Wraps imports of the server's packages for this purpose. Raises ServerPackagesMissing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise _missing(purpose, error.name or "") from error


def require_packages(purpose: str, *names: str) -> None:
    """Checks for the packages without importing them. Raises ServerPackagesMissing."""
    for name in names:
        if find_spec(name) is None:
            raise _missing(purpose, name)


def _missing(purpose: str, name: str) -> ServerPackagesMissing:
    return ServerPackagesMissing(
        f"{purpose} needs the server's packages, and `{name}` is not installed here. {INSTALL}"
    )
