"""The asynchronous client: the same operations as `Client`, awaited.

    async with AsyncClient("http://127.0.0.1:8000") as retouch:
        job = await retouch.submit("photo.jpg", lora="auto")
        await retouch.wait(job, timeout=60)
        await retouch.save(job, Path("better.png"))

Owns only its transport; `core.py` has the operations, `client.py` documents them.
"""

from types import TracebackType
from typing import Self

from retouch.client import DEFAULT_PATIENCE_SECONDS
from retouch.connection import Connection
from retouch.core import Core
from retouch.transport import AsyncTransport, checked_url, headers_for


class AsyncClient(Core):
    """A connection to one retouch service, for asyncio. Close it, or use it in `async with`.

    Methods, arguments and errors are those of `Client`; `events` is an asynchronous iterator.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        language: str | None = None,
        *,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
    ) -> None:
        address = checked_url(url)
        transport = AsyncTransport(address, headers_for(api_key, language))
        super().__init__(Connection(transport, address, patience_seconds))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
