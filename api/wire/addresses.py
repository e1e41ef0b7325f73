"""The public address of the service: the prefix of every address in its answers.

Owns that prefix. In an answer it is the path of RETOUCH_PUBLIC_URL; in a webhook, whose receiver
cannot resolve a relative address, it is the whole URL. Knows nothing of proxies:
api/server/public.py does.
"""

from contextvars import ContextVar
from urllib.parse import urljoin

from starlette.requests import HTTPConnection

# In an ASGI scope: the address by which the sender knows the service.
PUBLIC_URL = "retouch.public_url"

_prefix: ContextVar[str] = ContextVar("prefix", default="")


def address(path: str) -> str:
    """The address of this route for the receiver of the answer."""
    return _prefix.get() + path


def absolute(connection: HTTPConnection, known: str) -> str:
    """The same with scheme and name; `known` is a result of `address`."""
    return urljoin(connection.scope.get(PUBLIC_URL) or str(connection.base_url), known)


def see_from(prefix: str) -> None:
    """From now on, in this task and the tasks that it starts, addresses have this prefix."""
    _prefix.set(prefix)
