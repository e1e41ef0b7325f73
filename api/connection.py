"""One HTTP/1.1 connection, bounded in what it may cost: uvicorn's own has no such bounds.

Owns two rules: headers have to arrive in time, and the rest of a refused body is not read.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 20.0
# How long a refused sender has to read why, before what it still sends is answered by a reset.
LINGER_SECONDS = 2.0


class BoundedHttp(H11Protocol):
    """uvicorn's protocol with both bounds."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._stop_reading()
        else:
            super().on_response_complete()

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def _stop_reading(self) -> None:
        # Closing at once would reset the connection, and with it the answer on its way.
        self.server_state.total_requests += 1
        self.transport.pause_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
