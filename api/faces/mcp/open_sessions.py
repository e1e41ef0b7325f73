"""How many sessions each caller has open, so that no caller takes those of all others.

Owns that limit. Learns of sessions from requests and answers; the protocol's package owns them.
"""

import time
from collections import defaultdict

from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

from api.wire.sentence import Sentence
from shared.errors import RateLimited

MOST_OF_ONE = 64
# The package ends a session that was not used for this long.
IDLE_SECONDS = 1800.0
SESSION, VERSION = "mcp-session-id", "mcp-protocol-version"


class OpenSessions:
    """The sessions of each caller with the time of their last use."""

    def __init__(self) -> None:
        self._used: dict[str, dict[str, float]] = defaultdict(dict)

    def check_room(self, scope: Scope, owner: str) -> None:
        """Raises RateLimited for a request that would open one session too many."""
        headers, now = Headers(scope=scope), time.monotonic()
        # A request that names its version is of the protocol without sessions.
        if SESSION in headers or VERSION in headers or scope["method"] != "POST":
            return
        kept = {id_: at for id_, at in self._used[owner].items() if now - at < IDLE_SECONDS}
        self._used[owner] = kept
        if len(kept) >= MOST_OF_ONE:
            raise RateLimited(
                Sentence(
                    f"{MOST_OF_ONE} sessions are open already; end one with DELETE",
                    f"已打开 {MOST_OF_ONE} 个会话；请先用 DELETE 结束一个",
                )
            )

    def noting(self, scope: Scope, owner: str, send: Send) -> Send:
        """A `send` that notes which session a good answer belongs to, or that it has ended."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                self._note(scope, owner, message)
            await send(message)

        return noted

    def _note(self, scope: Scope, owner: str, message: Message) -> None:
        answered = Headers(raw=message["headers"]).get(SESSION)
        session = answered or Headers(scope=scope).get(SESSION)
        if session is None:
            return
        if scope["method"] == "DELETE":
            self._used[owner].pop(session, None)
        else:
            self._used[owner][session] = time.monotonic()
