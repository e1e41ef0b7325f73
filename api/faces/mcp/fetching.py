"""Fetches a photo from an https address, under the same rules as webhook addresses.

Owns the limit on time. Follows no redirects: only the checked address is read.
"""

import asyncio

import httpcore2

from api.webhooks.addresses import AddressRefused, Allowed, parse_target
from api.webhooks.download import BadAnswer, TooLarge, download
from api.webhooks.pinned import PinnedNetwork
from api.webhooks.trust import system_trust
from api.wire.sentence import Sentence
from shared.errors import InvalidImage, PayloadTooLarge
from shared.settings import Settings

SECONDS = 30.0
HEADER = ("Accept", "image/*")


async def fetched(url: str, settings: Settings) -> bytes:
    """Downloads the bytes at this address. Raises InvalidImage, PayloadTooLarge."""
    allowed = Allowed(settings.webhook_hosts)
    try:
        target = parse_target(url, allowed)
        async with asyncio.timeout(SECONDS), PinnedNetwork(allowed).opened() as network:
            return await download(
                target, network, system_trust(), settings.max_upload_bytes, HEADER
            )
    except AddressRefused as error:
        reason = error.args[0]
        zh = getattr(reason, "zh", str(reason))
        raise InvalidImage(Sentence(f"the address {reason}", f"图片地址{zh}")) from error
    except (TimeoutError, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        said = Sentence("nothing could be downloaded from the address", "无法从该地址下载图片")
        raise InvalidImage(said) from error
    except BadAnswer as error:
        raise InvalidImage(
            Sentence(f"the address answers {error}", f"该地址返回 {error}")
        ) from error
    except TooLarge:
        raise PayloadTooLarge from None
