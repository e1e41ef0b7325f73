"""One HTTP/1.1 connection with limits on its cost, which uvicorn's own protocol lacks.

Owns the rules: the number of connections is limited; a request's head has a largest size, must
arrive in time and names one host; a body is not compressed and does not come in crumbs; the rest of
a refused body is not read; and a request that is sent before the last one is answered is not taken,
so that there is one request at a time. The parser itself refuses a body with two lengths.
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
# Every piece of a body costs the same time, whether it has one byte or 64 KiB.
FREE_PIECES = 2048
SMALLEST_PIECE_BYTES = 32
# A chunk's length with its line ends.
FRAME_BYTES = 24


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
        # Whether nothing more is to be read from this connection as HTTP.
        self._is_deaf = False
        self._is_in_head = False
        # Of the request that is arriving: all bytes, those of its body, and the body's pieces.
        self._bytes = self._body_bytes = self._pieces = 0

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
        # A head is not given to the parser beyond its limit: it would be taken as a whole.
        room = MAX_HEAD_BYTES - self._bytes if self._is_in_head else MAX_HEAD_BYTES
        self._read(data[:room])
        if self._is_in_head and (len(data) > room or self._bytes >= MAX_HEAD_BYTES):
            self._refuse(400, "malformed_request")
        if len(data) > room:
            self._read(data[room:])
        if not self._is_between_requests():
            self._stop_timer()

    def _read(self, data: bytes) -> None:
        if self._is_deaf:
            return
        super().data_received(data)
        self._bytes += len(data)
        # What is neither head nor body are the frames of chunks, and lines behind the last one.
        most = 2 * MAX_HEAD_BYTES + FRAME_BYTES * self._pieces
        if self._bytes - self._body_bytes > most and not self._is_between_requests():
            self.send_400_response("")

    def on_message_begin(self) -> None:
        if not self._is_between_requests():
            raise Malformed
        self._is_in_head = True
        self._bytes = self._body_bytes = self._pieces = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # those behind a body are not part of the request
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._check_head()
        super().on_headers_complete()

    def _check_head(self) -> None:
        """Raises Malformed."""
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        if version not in ("1.0", "1.1") or hosts > 1 or (hosts == 0 and version == "1.1"):
            raise Malformed
        # The parser would read a compressed body as it came.
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if any(coding.strip().lower() != b"chunked" for coding in codings):
            raise Malformed

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        self._body_bytes += len(body)
        if self._body_bytes < (self._pieces - FREE_PIECES) * SMALLEST_PIECE_BYTES:
            raise Malformed
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()  # another protocol owns the connection from here on
        self._is_deaf = True
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        # The parser has stopped at the end of this request, so it is the last one.
        self._is_deaf = True
        self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self.transport.close()

    def on_response_complete(self) -> None:
        if (self._is_deaf or self.cycle.more_body) and not self.transport.is_closing():
            self._stop_reading()
        else:
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        del msg  # uvicorn's own message is plain text
        if self._is_between_requests():
            self._refuse(400, "malformed_request")
        elif not self.cycle.more_body:
            # What cannot be read comes behind a whole request, which is answered.
            self._is_deaf = True
            self.transport.pause_reading()
        elif self.cycle.response_started:
            self._is_deaf = True
            self.transport.close()  # half of an answer has already been sent
        else:
            self._refuse(400, "malformed_request")
            self.cycle.disconnected = True  # whatever the application answers
            self.cycle.message_event.set()

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
        self._is_deaf = True
        self.transport.pause_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
