"""Fetches a photo from an https address, under the same rules as webhook addresses.

Owns the limits on time and bytes. Follows no redirects: only the checked address is read.
"""

import asyncio
import ssl
from functools import cache

import httpcore2

from api.webhooks.addresses import AddressRefused, Allowed, parse_target
from api.webhooks.pinned import PinnedNetwork
from api.wire.sentence import Sentence
from shared.errors import InvalidImage, PayloadTooLarge
from shared.settings import Settings

SECONDS = 30.0


async def fetched(url: str, settings: Settings) -> bytes:
    """Downloads the bytes at this address. Raises InvalidImage, PayloadTooLarge."""
    allowed = Allowed(settings.webhook_hosts)
    try:
        target = parse_target(url, allowed)
        async with asyncio.timeout(SECONDS), PinnedNetwork(allowed).opened() as network:
            return await _read(
                httpcore2.URL(
                    scheme=target.scheme, host=target.host, port=target.port, target=target.path
                ),
                network,
                settings.max_upload_bytes,
            )
    except AddressRefused as error:
        reason = error.args[0]
        zh = getattr(reason, "zh", str(reason))
        raise InvalidImage(Sentence(f"the address {reason}", f"图片地址{zh}")) from error
    except (TimeoutError, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        said = Sentence("nothing could be downloaded from the address", "无法从该地址下载图片")
        raise InvalidImage(said) from error


async def _read(url: httpcore2.URL, network: httpcore2.AsyncNetworkBackend, most: int) -> bytes:
    async with (
        httpcore2.AsyncConnectionPool(ssl_context=_trust(), network_backend=network) as pool,
        pool.stream("GET", url, headers={"Accept": "image/*"}) as answer,
    ):
        if answer.status != 200:
            raise InvalidImage(
                Sentence(f"the address answers {answer.status}", f"该地址返回 {answer.status}")
            )
        data = bytearray()
        async for piece in answer.aiter_stream():
            data += piece
            if len(data) > most:
                raise PayloadTooLarge()
        return bytes(data)


@cache
def _trust() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()
