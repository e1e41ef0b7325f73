"""One HTTP/1.1 connection with limits on its cost, which uvicorn's own protocol lacks.

Owns six rules: the number of connections is limited, each request's head has a largest size and
must arrive in time, it names one host, a body is not compressed and its chunks are not tiny, and
the rest of a refused body is not read. The parser itself refuses a body with two lengths.
"""

import asyncio
import json

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.wire.problems import MEDIA_TYPE, RETRY_AFTER, plain_problem

HEADER_SECONDS = 20.0
# Time for a refused sender to read the answer before the connection is reset.
LINGER_SECONDS = 2.0
MAX_CONNECTIONS = 4000
MAX_HEAD_BYTES = 64 * 1024
# Every chunk of a body costs the same time, whether it has one byte or 64 KiB.
FREE_PIECES = 2048
SMALLEST_PIECE_BYTES = 32


class Malformed(Exception):
    """Raised from the parser's callbacks, for what the parser itself would take."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with these limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._header_timer: asyncio.TimerHandle | None = None
        # Whether anything more is to be read as HTTP.
        self._is_over = False
        self._is_in_head = False
        self._head_bytes = self._pieces = self._piece_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, "overloaded")
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._header_timer is None and self._is_between_requests():
            self._expect_head()
        first, rest = data[:MAX_HEAD_BYTES], data[MAX_HEAD_BYTES:]
        self._read(first)
        if self._is_in_head:
            self._head_bytes += len(first)
            if rest or self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("the head is too large")
        if rest:
            self._read(rest)
        if not self._is_between_requests():
            self._stop_timer()

    def _read(self, data: bytes) -> None:
        if not self._is_over:
            super().data_received(data)

    def on_message_begin(self) -> None:
        self._is_in_head = True
        self._head_bytes = self._pieces = self._piece_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # those after a body are not part of the request
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._check_head()
        super().on_headers_complete()

    def _check_head(self) -> None:
        """Raises Malformed."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        is_old = self.parser.get_http_version() == "1.0"
        if hosts > 1 or (hosts == 0 and not is_old):
            raise Malformed
        # The parser would read a compressed body as it came.
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if any(coding.strip().lower() != b"chunked" for coding in codings):
            raise Malformed

    def on_chunk_header(self) -> None:
        """Called by the parser before each chunk."""
        self._pieces += 1
        if self._piece_bytes < (self._pieces - FREE_PIECES) * SMALLEST_PIECE_BYTES:
            raise Malformed

    def on_body(self, body: bytes) -> None:
        self._piece_bytes += len(body)
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()  # another protocol owns the connection from here on
        self._is_over = True
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        # With another request in the pipeline, this one's body has been read.
        if self.cycle.more_body and not self.pipeline and not self.transport.is_closing():
            self._stop_reading()
        else:
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        del msg  # uvicorn's own message is plain text
        self._is_over = True
        if self._is_between_requests():
            self._refuse(400, "malformed_request")
        elif not self.cycle.more_body:
            # What cannot be read comes after a whole request, which is answered first.
            self.transport.pause_reading()
            self.cycle.keep_alive = False
        elif self.cycle.response_started:
            self.transport.close()  # half of an answer has already been sent
        else:
            self._refuse(400, "malformed_request")

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
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
        self._is_over = True
        self.transport.pause_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
