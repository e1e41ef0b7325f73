"""How long, and in what rhythm, the client tries again.

Owns the waits between attempts. Knows nothing of HTTP beyond the Retry-After header's text.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 8.0


@dataclass
class Patience:
    """One bounded series of attempts. `wait` sleeps before the next one, or says that it is over.

    Waits double from 0.2 s to 8 s with up to a quarter taken off at random, so that many clients
    do not come back in step. The whole series lasts at most `seconds`.
    """

    seconds: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _tries: int = 0
    _deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin the series anew, after something worked."""
        self._tries = 0
        self._deadline = self.clock() + self.seconds

    def wait(self, retry_after: str | None = None) -> bool:
        """Sleep until the next attempt is due; False, at once, when that is past the limit."""
        pause = max(self._backoff(), _seconds(retry_after))
        if self.clock() + pause > self._deadline:
            return False
        self._tries += 1
        self.sleep(pause)
        return True

    def _backoff(self) -> float:
        longest: float = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**self._tries)
        return longest * random.uniform(0.75, 1.0)


def _seconds(retry_after: str | None) -> float:
    """The header's number of seconds. Its other form, a date, is left to the backoff."""
    try:
        return float(retry_after) if retry_after else 0.0
    except ValueError:
        return 0.0
