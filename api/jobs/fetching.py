"""A job's picture from an address that the caller names, instead of an upload.

Owns the limit of time. The address follows the rules of webhooks: https, on the public
internet, checked after resolving, without redirects. Knows no face: each says in its own form why
nothing came.
"""

import asyncio
import ssl

import httpcore2

from api.webhooks.addresses import AddressRefused, Allowed, Target, parse_target
from api.webhooks.download import BadAnswer, TooLarge, download
from api.webhooks.pinned import PinnedNetwork
from api.webhooks.sender import own_name
from api.webhooks.trust import system_trust
from api.wire.sentence import Sentence
from shared.errors import PayloadTooLarge
from shared.settings import Settings

SECONDS = 30.0


class NotFetched(Exception):
    """Raised with a Sentence about the address ("cannot be reached")."""

    @property
    def reason(self) -> Sentence:
        reason: Sentence = self.args[0]
        return reason


class Fetcher:
    """Fetches one file at a time for each caller. Used on the event loop."""

    def __init__(
        self,
        settings: Settings,
        network: PinnedNetwork | None = None,
        trust: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._allowed = Allowed(settings.webhook_hosts)
        self._network = network or PinnedNetwork(self._allowed)
        self._trust = trust or system_trust()
        self._most = settings.max_upload_bytes
        self._seconds = seconds

    async def fetch(self, url: str) -> bytes:
        """The file's bytes. Raises NotFetched if they cannot be had, PayloadTooLarge."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._get(parse_target(url, self._allowed))
        except AddressRefused as error:
            reason: Sentence = error.args[0]
        except TimeoutError:
            reason = Sentence("did not send the picture in time", "没有及时发来图片")
        except httpcore2.ConnectError:
            reason = Sentence("cannot be reached", "无法连接")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError):
            reason = Sentence("broke off", "中途断开")
        except BadAnswer as error:
            reason = Sentence(f"answered {error}", f"返回了 {error}")
        except TooLarge:
            raise PayloadTooLarge(
                f"the file at the address has more than {self._most} bytes"
            ) from None
        raise NotFetched(reason)

    async def _get(self, target: Target) -> bytes:
        header = ("User-Agent", own_name())
        async with self._network.opened() as network:
            return await download(target, network, self._trust, self._most, header)
