"""Two transports, blocking and asynchronous, with the same methods.

Owns connections, headers and time-outs. The blocking transport's methods are only formally `async`:
they do their work before they return and never suspend, so that one core serves both. Knows nothing
of jobs and retries nothing.
"""

import asyncio
import math
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any, Protocol, TypeVar

import httpx2

from retouch.patience import Deadline
from retouch.version import __version__

# The gateway sends a comment line at least every 15 s; longer silence means a dead connection.
SILENCE_SECONDS = 45.0
CONNECT_SECONDS = 5.0

Value = TypeVar("Value")
Events = AsyncIterator[httpx2.ServerSentEvent]
# The head of the answer, and its events. The body of an error has been read already.
Stream = tuple[httpx2.Response, Events]


class Transport(Protocol):
    """The core's interface for connections. Requests raise httpx2.TransportError."""

    async def send(
        self, method: str, path: str, seconds: float, **arguments: Any
    ) -> httpx2.Response:
        """Sends one request and returns the answer, which may take `seconds`."""

    def stream(
        self, path: str, headers: dict[str, str], seconds: float
    ) -> AbstractAsyncContextManager[Stream]:
        """A stream of events, closed after `seconds`."""

    async def sleep(self, seconds: float) -> None:
        """Waits."""

    async def offload(self, work: Callable[[], Value]) -> Value:
        """Runs a blocking function, such as reading a file."""

    async def close(self) -> None:
        """Closes every connection."""


class BlockingTransport:
    """Blocks the calling thread. Safe to use from several threads."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._http = httpx2.Client(
            base_url=url, headers=headers, follow_redirects=False, verify=_trust(url)
        )

    async def send(
        self, method: str, path: str, seconds: float, **arguments: Any
    ) -> httpx2.Response:
        return self._http.request(method, path, timeout=_timeout(seconds), **arguments)

    @asynccontextmanager
    async def stream(
        self, path: str, headers: dict[str, str], seconds: float
    ) -> AsyncIterator[Stream]:
        timeout = _timeout(min(seconds, SILENCE_SECONDS))
        with (
            self._http.stream("GET", path, headers=headers, timeout=timeout) as response,
            _cut_off(response, seconds),
        ):
            if not response.is_success:
                response.read()
            yield response, _each(response)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def offload(self, work: Callable[[], Value]) -> Value:
        return work()

    async def close(self) -> None:
        self._http.close()


class AsyncTransport:
    """Suspends the calling asyncio task."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._http = httpx2.AsyncClient(
            base_url=url, headers=headers, follow_redirects=False, verify=_trust(url)
        )

    async def send(
        self, method: str, path: str, seconds: float, **arguments: Any
    ) -> httpx2.Response:
        return await self._http.request(method, path, timeout=_timeout(seconds), **arguments)

    @asynccontextmanager
    async def stream(
        self, path: str, headers: dict[str, str], seconds: float
    ) -> AsyncIterator[Stream]:
        timeout = _timeout(min(seconds, SILENCE_SECONDS))
        deadline = Deadline(seconds)
        async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                await response.aread()
            yield response, _each_until(response, deadline)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def offload(self, work: Callable[[], Value]) -> Value:
        return await asyncio.to_thread(work)

    async def close(self) -> None:
        await self._http.aclose()


def _trust(url: str) -> ssl.SSLContext | bool:
    """The authorities to trust: httpx's choice, or none at all for an address without TLS, because
    reading them takes longer than everything else in a client's start.
    """
    return True if url.startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def checked_url(url: str) -> str:
    """The address without a trailing slash. Raises ValueError if it is not an HTTP address."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not an http:// or https:// address")
    return url.rstrip("/")


def headers_for(api_key: str | None, language: str | None) -> dict[str, str]:
    """The headers of every request of a client."""
    headers = {"User-Agent": f"retouch-client/{__version__}"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if language:
        headers["Accept-Language"] = language
    return headers


def _timeout(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))


async def _each(response: httpx2.Response) -> Events:
    for sent in httpx2.EventSource(response):
        yield sent


async def _each_until(response: httpx2.Response, deadline: Deadline) -> Events:
    events = aiter(httpx2.EventSource(response))
    while True:
        try:
            async with asyncio.timeout(None if math.isinf(deadline.left) else deadline.left):
                sent = await anext(events)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the waiting time is over") from error
        yield sent


@contextmanager
def _cut_off(response: httpx2.Response, seconds: float) -> Iterator[None]:
    """Ends a blocked read after `seconds`: the gateway's comments would otherwise prevent a
    time-out.
    """
    if math.isinf(seconds):
        yield
        return
    connection = response.extensions["network_stream"].get_extra_info("socket")
    timer = threading.Timer(seconds, _shut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(connection: socket.socket) -> None:
    # Not a TLS socket's own method, which would take its state from the thread that is reading.
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
