"""The protocol behind `/mcp`: its server, and the sessions that callers open.

Owns its limits. Importing the protocol's package takes as long as all else that the gateway starts
with, so api/faces/mcp/door.py imports this with the first request.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from api.access.keys import Caller
from api.faces.mcp.open_sessions import OpenSessions
from api.faces.mcp.tools import CALLER, SERVICES, make_server
from api.services import Services

MOST_BODY_BYTES = 2**20
MOST_SESSIONS = 1000


class Sessions:
    """All open sessions. Enter `running` before it serves requests."""

    def __init__(self) -> None:
        server = make_server()
        # Creates the session manager; the application around it is not used.
        server.streamable_http_app(
            max_request_body_size=MOST_BODY_BYTES,
            max_sessions=MOST_SESSIONS,
            # It knows no names but localhost's; ours were checked before (api/access/hosts.py).
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._manager = server.session_manager
        self._open = OpenSessions()

    def check_room(self, scope: Scope, owner: str) -> None:
        """Raises RateLimited if the caller has too many sessions to open another one."""
        self._open.check_room(scope, owner)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._manager.run():
            yield

    async def handle(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        owner: str,
        caller: Caller,
        services: Services,
    ) -> None:
        """Serves one request of `owner`, who alone can use the sessions that he opens."""
        token = AccessToken(token="", client_id=owner, scopes=[])
        known = {"user": AuthenticatedUser(token), CALLER: caller, SERVICES: services}
        noting = self._open.noting(scope, owner, send)
        await self._manager.handle_request({**scope, **known}, receive, noting)
