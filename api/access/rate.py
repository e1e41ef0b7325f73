"""How often a caller may ask: a sliding window in the store, shared by all gateways.

Owns RETOUCH_RATE_LIMIT's meaning: the setting counts what makes work (uploads, jobs); reading and
polling may be ten times as frequent.
"""

import math
import time

from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from shared.errors import RateLimited
from shared.redis_client import ANSWER_SECONDS, CONNECT_SECONDS, translated_errors
from shared.settings import BadSettings, Settings

OFF = "off"
READS_PER_WRITE = 10


class RateExceeded(RateLimited):
    """Raised with the wait in seconds that makes the next request pass."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"the next request is welcome in {wait_seconds} s")
        self.wait_seconds = wait_seconds


class RateLimit:
    """The limit of this deployment. Called from threads."""

    def __init__(self, item: RateLimitItem, settings: Settings) -> None:
        storage = RedisStorage(
            settings.redis_url,
            key_prefix="rate",
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
        )
        self._window = SlidingWindowCounterRateLimiter(storage)
        self._writes = item
        self._reads = type(item)(item.amount * READS_PER_WRITE, item.multiples, "read")

    def check(self, who: str, makes_work: bool) -> None:
        """Count one request. Raises RateExceeded, StoreUnavailable."""
        item = self._writes if makes_work else self._reads
        with translated_errors():
            if self._window.hit(item, who):
                return
            reset = self._window.get_window_stats(item, who).reset_time
        raise RateExceeded(max(1, math.ceil(reset - time.time())))


def parse_rate(settings: Settings) -> RateLimitItem | None:
    """The rate that the settings ask for; None when it is off. Raises BadSettings."""
    if settings.rate_limit.strip().lower() in (OFF, ""):
        return None
    try:
        return parse(settings.rate_limit)
    except ValueError as error:
        raise BadSettings(
            f"RETOUCH_RATE_LIMIT: must be off or like 60/minute (got {settings.rate_limit!r})"
        ) from error
