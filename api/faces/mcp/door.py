"""Access to `/mcp`: keys, rate and origin are checked before the protocol sees a request.

Owns the rule that only the caller who opened a session can use it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.access.guard import admit, check_origin, services_of, who
from api.access.keys import Scope as KeyScope
from api.wire.errors import refusal
from shared.errors import RetouchError

if TYPE_CHECKING:
    from api.faces.mcp.sessions import Sessions

PATH = "/mcp"


class McpDoor:
    """An ASGI application for one address. Enter `running` before it serves requests.

    The protocol is loaded with the first request that may pass.
    """

    def __init__(self) -> None:
        self._wanted = anyio.Event()
        self._ready = anyio.Event()
        self._closing = anyio.Event()
        self._sessions: Sessions | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._serve)
            try:
                yield
            finally:
                self._closing.set()
                self._wanted.set()

    async def _serve(self) -> None:
        """Keeps the sessions in a task of their own: whoever begins them has to end them."""
        await self._wanted.wait()
        if self._closing.is_set():
            return
        sessions = await anyio.to_thread.run_sync(_load)
        async with sessions.running():
            self._sessions = sessions
            self._ready.set()
            await self._closing.wait()

    async def _open(self) -> "Sessions":
        self._wanted.set()
        await self._ready.wait()
        assert self._sessions is not None
        return self._sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        services = services_of(request)
        try:
            check_origin(request, services)
            caller = await admit(request, services, KeyScope.READ)
            sessions, owner = await self._open(), who(request, caller)
            sessions.check_room(scope, owner)
        except RetouchError as error:
            await refusal(request, error)(scope, receive, send)
            return
        await sessions.handle(scope, receive, send, owner=owner, caller=caller, services=services)


def _load() -> "Sessions":
    from api.faces.mcp.sessions import Sessions

    return Sessions()
