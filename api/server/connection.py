"""One HTTP/1.1 connection with limits on its cost, which uvicorn's own protocol lacks.

Owns five rules: the number of connections is limited, each request's headers must arrive in time, a
body has one length, its chunks must not be tiny, and the rest of a large refused body is not read.
"""

import asyncio
import json

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from api.wire.problems import MEDIA_TYPE, RETRY_AFTER, plain_problem

HEADER_SECONDS = 20.0
# Time for a refused sender to read the answer before the connection is reset.
LINGER_SECONDS = 2.0
MAX_CONNECTIONS = 4000
DROPPED_BYTES = 64 * 1024
# Every chunk of a body costs the same time, 50 us, whether it has one byte or 64 KiB.
FREE_PIECES = 2048
SMALLEST_PIECE_BYTES = 32


class MeasuringConnection(h11.Connection):
    """A connection that refuses bodies in tiny chunks."""

    pieces = 0
    piece_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.pieces = self.piece_bytes = 0
            _refuse_two_lengths(event)
        elif isinstance(event, h11.Data):
            self.pieces += 1
            self.piece_bytes += len(event.data)
            if self.piece_bytes < (self.pieces - FREE_PIECES) * SMALLEST_PIECE_BYTES:
                raise h11.RemoteProtocolError("the body arrives in tiny chunks")
        return event


def _refuse_two_lengths(request: h11.Request) -> None:
    """Refuses two lengths: a proxy may use the other one and treat the rest as another request (RFC
    9112, 6.1).
    """
    names = {name for name, _ in request.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        raise h11.RemoteProtocolError("the body has a length and is chunked")


class BoundedHttp(H11Protocol):
    """uvicorn's protocol with these limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = MeasuringConnection(h11.SERVER, self.conn._max_incomplete_event_size)
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, "overloaded")
        else:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._header_timer is None and self._is_between_requests():
            self._expect_headers()
        super().data_received(data)
        if not self._is_between_requests():
            self._stop_timer()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_timer()  # another protocol owns the connection from here on
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        unread = self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing()
        if unread and not self._is_small():
            self._stop_reading()
        else:
            super().on_response_complete()

    def _is_small(self) -> bool:
        """Whether the request's body is dropped for less than a new connection costs its sender,
        who may have been answered before the body came.
        """
        lengths = [value for name, value in self.scope["headers"] if name == b"content-length"]
        return bool(lengths) and int(lengths[0]) <= DROPPED_BYTES

    def send_400_response(self, msg: str) -> None:
        del msg  # uvicorn's own message is plain text
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(400, "malformed_request")
        else:
            self.transport.close()  # half of an answer has already been sent

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        if self._is_between_requests() and not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, code: str) -> None:
        body = json.dumps(plain_problem(code)).encode()
        wait = f"Retry-After: {RETRY_AFTER[code]}\r\n" if code in RETRY_AFTER else ""
        head = (
            f"HTTP/1.1 {status} Refused\r\nContent-Type: {MEDIA_TYPE}\r\n{wait}"
            f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self._leave()

    def _stop_reading(self) -> None:
        # Closing at once would reset the connection, and lose the answer that is being sent.
        self.server_state.total_requests += 1
        self._leave()

    def _leave(self) -> None:
        self.transport.pause_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
