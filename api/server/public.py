"""The request as its sender sees it: with the public name and path, whatever a proxy changed.

Owns reading RETOUCH_PUBLIC_URL for each request. A proxy may strip the path's prefix or keep it;
both are accepted. X-Forwarded-Host and X-Forwarded-Prefix are ignored: the setting contains both,
and senders cannot change it.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.access.hosts import HostNames, netloc_of
from api.wire.addresses import PUBLIC_URL, see_from
from api.wire.errors import refusal
from shared.errors import Forbidden
from shared.settings import Settings

# Requested by machines, under any name that they use for this one.
ANY_NAME = frozenset({"/healthz", "/readyz"})


class Public:
    """Wraps routes and CORS: refuses foreign host names, and sets path and prefix."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names = HostNames(settings)
        self._urls = {netloc_of(url): url for url in reversed(settings.public_url)}
        self._first = next(iter(settings.public_url), "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            see_from(self._first)
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        self._place(scope, self._urls.get(host.lower(), self._first))
        try:
            if _own_path(scope) not in ANY_NAME:
                self._names.check(host)
        except Forbidden as error:
            await _refuse(error, scope, receive, send)
            return
        app = self._app
        if scope["path"] == scope["root_path"] != "":
            app = RedirectResponse(f"{scope['root_path']}/", status_code=308)
        await app(scope, receive, send)

    def _place(self, scope: Scope, url: str) -> None:
        root, path = urlsplit(url).path, scope["path"]
        see_from(root)
        scope[PUBLIC_URL] = f"{url}/" if url else ""
        scope["root_path"] = root
        if not (path == root or path.startswith(f"{root}/")):
            scope["path"] = root + path


def _own_path(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(scope["root_path"])


async def _refuse(error: Forbidden, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.send_denial_response(refusal(socket, error))
    else:
        await refusal(HTTPConnection(scope), error)(scope, receive, send)
