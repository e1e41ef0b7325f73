"""One request to one receiver, with limits on time and on what is read of the answer.

Owns the meaning of an answer: accepted, retry, or give up. Follows no redirect and reads no body:
only the status matters.
"""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version

import httpcore2

from api.webhooks.addresses import AddressRefused, Target
from api.webhooks.pinned import PinnedNetwork
from api.webhooks.trust import system_trust

SECONDS_EACH = 15.0
PICTURE_PATIENCE = 4
LONGEST_WAIT_SECONDS = 3600.0
GONE = 410


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt. `reason` is a code, None if the receiver has accepted the
    message.
    """

    reason: str | None = None
    is_final: bool = False
    wait_seconds: float = 0.0


TAKEN = Outcome()


class Sender:
    """Sends each message on its own connection. Used on the event loop."""

    def __init__(
        self,
        network: PinnedNetwork,
        trust: ssl.SSLContext | None = None,
        seconds: float = SECONDS_EACH,
    ) -> None:
        self._network = network
        self._trust = trust or system_trust()
        self._seconds = seconds

    async def send(
        self, target: Target, headers: dict[str, str], body: bytes, method: str = "POST"
    ) -> Outcome:
        """Sends one message. Never raises because of the receiver."""
        # A picture has so much longer than a message.
        patience = self._seconds * (PICTURE_PATIENCE if method == "PUT" else 1)
        try:
            async with asyncio.timeout(patience):
                return await self._post(target, headers, body, method)
        except TimeoutError:
            return Outcome("receiver_too_slow")
        except AddressRefused:
            return Outcome("address_refused")
        except httpcore2.ConnectError as error:
            is_tls = isinstance(error.__cause__ or error.__context__, ssl.SSLError)
            return Outcome("receiver_certificate" if is_tls else "receiver_unreachable")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError):
            return Outcome("receiver_broke_off")

    async def _post(
        self, target: Target, headers: dict[str, str], body: bytes, method: str
    ) -> Outcome:
        url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        every = {"Content-Type": "application/json", "User-Agent": own_name(), **headers}
        pairs = list(every.items())
        async with (
            self._network.opened() as network,
            httpcore2.AsyncConnectionPool(self._trust, network_backend=network) as pool,
            pool.stream(method, url, headers=pairs, content=body) as answer,
        ):
            return judge(answer.status, dict(answer.headers))


def judge(status: int, headers: dict[bytes, bytes]) -> Outcome:
    """The meaning of an answer for the webhook."""
    if 200 <= status < 300:
        return TAKEN
    if status == GONE:
        return Outcome("receiver_gone", is_final=True)
    if 300 <= status < 400:
        return Outcome("receiver_redirects")
    named = {name.lower(): value for name, value in headers.items()}
    wait = _seconds_of(named.get(b"retry-after", b"").decode("latin-1"))
    return Outcome("receiver_refuses", wait_seconds=wait)


def _seconds_of(retry_after: str) -> float:
    if retry_after.isascii() and retry_after.isdecimal():
        return min(float(retry_after[:9]), LONGEST_WAIT_SECONDS)
    try:
        wait = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, wait), LONGEST_WAIT_SECONDS)


def own_name() -> str:
    """What receivers see of this service."""
    return f"retouch/{version('retouch')}"
