"""How often a caller may send requests: a sliding window in the store, shared by all gateways.

Owns the meaning of a rate: it counts requests that cause work (uploads, jobs); reading and polling
may be ten times as frequent.
"""

import math
import time
from dataclasses import dataclass

from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from shared.errors import RateLimited
from shared.ledger.redis_client import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    client_for,
    translated_errors,
)
from shared.settings import BadSettings, Settings

OFF = "off"
READS_PER_WRITE = 10


class RateExceeded(RateLimited):
    """Raised with the seconds to wait until the next request is allowed."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"the next request is allowed in {wait_seconds} s")
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Rate:
    """The limits for requests that cause work and for those that only read; None means no limit."""

    writes: RateLimitItem | None = None
    reads: RateLimitItem | None = None


class _Storage(RedisStorage):
    """Without the second library, of the same size, that the first one also works with."""

    DEPENDENCIES = {"redis": RedisStorage.DEPENDENCIES["redis"]}


class RateLimit:
    """Counts requests. Called from threads; opens no connection before the first count."""

    def __init__(self, default: Rate, settings: Settings) -> None:
        client = client_for(
            settings.redis_url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
        )
        storage = _Storage(
            "redis://",
            connection_pool=client.connection_pool,
            key_prefix=f"{settings.key_prefix}rate",
        )
        self._window = SlidingWindowCounterRateLimiter(storage)
        self.default = default

    def is_limited(self, own: Rate | None, makes_work: bool) -> bool:
        """Whether such requests are counted at all: `check` asks the store only if they are."""
        return self._limit(own, makes_work) is not None

    def check(self, who: str, own: Rate | None, makes_work: bool) -> None:
        """Counts one request against the caller's own rate, or the deployment's.

        Raises RateExceeded, StoreUnavailable.
        """
        item = self._limit(own, makes_work)
        if item is None:
            return
        with translated_errors():
            if self._window.hit(item, who):
                return
            reset = self._window.get_window_stats(item, who).reset_time
        raise RateExceeded(max(1, math.ceil(reset - time.time())))

    def _limit(self, own: Rate | None, makes_work: bool) -> RateLimitItem | None:
        rate = self.default if own is None else own
        return rate.writes if makes_work else rate.reads


def read_rate(text: str) -> Rate:
    """Parses `off` or a rate such as `60/minute`. Raises ValueError."""
    if text.strip().lower() in (OFF, ""):
        return Rate()
    item = parse(text)
    return Rate(item, type(item)(item.amount * READS_PER_WRITE, item.multiples, "read"))


def deployment_rate(settings: Settings) -> Rate:
    """RETOUCH_RATE_LIMIT. Raises BadSettings."""
    try:
        return read_rate(settings.rate_limit)
    except ValueError as error:
        raise BadSettings(
            f"RETOUCH_RATE_LIMIT: must be off or like 60/minute (got {settings.rate_limit!r})"
        ) from error
