"""How long, and at which intervals, the client retries.

Owns the waits between attempts. Knows nothing of HTTP except the text of the Retry-After header,
and never sleeps itself: the blocking and the asynchronous client sleep in different ways.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 8.0


class Deadline:
    """A moment in the future; without `seconds` it never comes."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, at least 0; infinite without a limit."""
        return max(0.0, self._end - time.monotonic())

    @property
    def has_passed(self) -> bool:
        return self.left == 0.0


@dataclass
class Patience:
    """One bounded series of attempts: `pause` returns how long to wait before the next one.

    Waits double from 0.2 s to 8 s with up to a quarter taken off at random, so that many clients do
    not return in step. The series lasts at most `seconds`, and never beyond the `deadline`.
    """

    seconds: float
    deadline: Deadline = field(default_factory=Deadline)
    clock: Callable[[], float] = time.monotonic
    _tries: int = 0
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Restarts the series after a success."""
        self._tries = 0
        self._end = self.clock() + self.seconds

    def pause(self, retry_after: str | None = None) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        pause = max(self._backoff(), seconds_of(retry_after))
        if self.deadline.has_passed or self.clock() + pause > self._end:
            return None
        self._tries += 1
        return min(pause, self.deadline.left)

    def _backoff(self) -> float:
        longest: float = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**self._tries)
        return longest * random.uniform(0.75, 1.0)


def seconds_of(retry_after: str | None) -> float:
    """The header as seconds from now, in either of its two forms; 0 if it is neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
