"""A network backend that resolves a name once, checks every address, and connects to a checked one.

Owns the step between resolving and connecting: the address cannot change in between, and the name
is still the one that TLS verifies and `Host` contains.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import httpcore2

from api.webhooks.addresses import AddressRefused, Allowed, is_outside
from api.wire.sentence import Sentence

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)
Resolve = Callable[[str, int], Awaitable[list[str]]]


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses that this machine's resolver returns for a name. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedNetwork:
    """Opens connections to checked addresses; none outlives its `opened` context."""

    def __init__(
        self,
        allowed: Allowed,
        resolve: Resolve = system_resolve,
        inner: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = inner or httpcore2.AnyIOBackend()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[httpcore2.AsyncNetworkBackend]:
        """The network for one request."""
        backend = _Backend(self)
        try:
            yield backend
        finally:
            # The pool loses track of a connection whose handshake is canceled.
            for stream in backend.streams:
                await stream.aclose()

    async def connect(
        self, host: str, port: int, timeout: float | None
    ) -> httpcore2.AsyncNetworkStream:
        """Raises AddressRefused, httpcore2.ConnectError."""
        return await self._inner.connect_tcp(await self._address_of(host, port), port, timeout)

    async def _address_of(self, host: str, port: int) -> str:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the host name is unknown") from error
        if not found:
            raise httpcore2.ConnectError("the host name has no address")
        if not self._allowed.has(host, port) and not all(map(_is_outside, found)):
            raise AddressRefused(
                Sentence("the host name is in a private network", "该名称指向内部网络")
            )
        return found[0]


class _Backend(httpcore2.AsyncNetworkBackend):
    """The library's interface for a network, for one request."""

    def __init__(self, network: PinnedNetwork) -> None:
        self.streams: list[httpcore2.AsyncNetworkStream] = []
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        del local_address, socket_options  # the pool sets neither of them
        stream = await self._network.connect(host, port, timeout)
        self.streams.append(stream)
        return stream


def _is_outside(text: str) -> bool:
    # Only link-local addresses have a scope (fe80::1%eth0).
    return "%" not in text and is_outside(ipaddress.ip_address(text))
