"""Where the service is seen from: what stands before every address that it hands out.

Owns that prefix. In an answer it is the path of RETOUCH_PUBLIC_URL; in a webhook, which no address
of ours could be read against, the whole of it. Knows nothing of proxies: api/server/public.py does.
"""

from contextvars import ContextVar
from urllib.parse import urljoin

from starlette.requests import HTTPConnection

# In an ASGI scope: the address by which its sender knows the service.
PUBLIC_URL = "retouch.public_url"

_prefix: ContextVar[str] = ContextVar("prefix", default="")


def address(path: str) -> str:
    """This route, as whoever is answered can ask for it."""
    return _prefix.get() + path


def absolute(connection: HTTPConnection, known: str) -> str:
    """The same with scheme and name; `known` is what `address` gave."""
    return urljoin(connection.scope.get(PUBLIC_URL) or str(connection.base_url), known)


def see_from(prefix: str) -> None:
    """From now on, in this task and those that it begins, addresses have this prefix."""
    _prefix.set(prefix)
