"""Well-behaved and misbehaving receivers of webhooks, and a network that leads to them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpcore2

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
PUBLIC = "93.184.216.34"

Reaction = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """One request: its line, headers by lower-case name, body."""

    line: str
    headers: dict[str, str]
    body: str


@dataclass
class Receiver:
    """The requests received, and the answers: each time the next reaction, then the last one
    forever.
    """

    reactions: list[Reaction]
    heard: list[Heard] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            place = min(len(self.heard), len(self.reactions) - 1)
            self.heard.append(Heard(head[0], headers, body.decode(errors="surrogateescape")))
            await self.reactions[place](writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the sender has disconnected
        finally:
            writer.close()


@asynccontextmanager
async def receiving(
    *reactions: Reaction, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on a port of this machine."""
    receiver = Receiver(list(reactions))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await asyncio.sleep(0.05)  # handshakes that failed are closed by the loop's next rounds


def says(data: bytes) -> Reaction:
    """Answers with these bytes."""

    async def react(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return react


async def hangs(writer: asyncio.StreamWriter) -> None:
    """Takes everything and never answers."""
    del writer
    await asyncio.sleep(60)


async def drips(writer: asyncio.StreamWriter) -> None:
    """Answers one byte at a time, forever."""
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


class Tap(httpcore2.AsyncNetworkBackend):
    """Stands in for the internet: whatever address is connected to, the receiver answers. It
    records the addresses.
    """

    def __init__(self, port: int) -> None:
        self.dialled: list[tuple[str, int]] = []
        self._port = port
        self._real = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.dialled.append((host, port))
        return await self._real.connect_tcp(
            "127.0.0.1", self._port, timeout, local_address, socket_options
        )


class Resolver:
    """Answers each query with the next of its answers, then the last one forever."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    async def __call__(self, host: str, port: int) -> list[str]:
        del port
        self.asked.append(host)
        return self._answers[min(len(self.asked), len(self._answers)) - 1]
