"""Access to `/mcp`: keys, rate and origin are checked before the protocol sees a request.

Owns the rule that only the caller who opened a session can use it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.access.guard import admit, check_origin, services_of, who
from api.access.keys import Scope as KeyScope
from api.faces.mcp.tools import CALLER, SERVICES, make_server
from api.wire.errors import refusal
from shared.errors import RetouchError

MOST_BODY_BYTES = 2**20
MOST_SESSIONS = 1000
PATH = "/mcp"


class McpDoor:
    """An ASGI application for one address. Enter `running` before it serves requests."""

    def __init__(self) -> None:
        server = make_server()
        # Creates the session manager; the application around it is not used.
        server.streamable_http_app(
            max_request_body_size=MOST_BODY_BYTES,
            max_sessions=MOST_SESSIONS,
            # It accepts no names but localhost's; ours were checked before (api/access/hosts.py).
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._sessions = server.session_manager

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._sessions.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        services = services_of(request)
        try:
            check_origin(request, services)
            caller = await admit(request, services, KeyScope.READ)
        except RetouchError as error:
            await refusal(request, error)(scope, receive, send)
            return
        owner = who(request, caller)
        token = AccessToken(token="", client_id=owner, scopes=[])
        known = {"user": AuthenticatedUser(token), CALLER: caller, SERVICES: services}
        await self._sessions.handle_request({**scope, **known}, receive, send)
