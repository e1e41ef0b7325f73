"""How many of something there may be at a time: of one caller, and in all.

Owns counting for what holds a connection for long: uploads on their way in, and followers of jobs.
Each gateway counts its own. Used on the event loop only.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.access.keys import ANONYMOUS
from api.wire.sentence import Sentence
from shared.errors import Overloaded, RateLimited


class Places:
    """Places that are taken and left. Callers without a key share the common ones."""

    def __init__(self, in_all: int, each: int, what: Sentence) -> None:
        self._in_all = in_all
        self._each = each
        self._what = what
        self._taken: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Raises Overloaded, RateLimited."""
        if self._taken.total() >= self._in_all:
            raise Overloaded(
                Sentence(
                    f"this service has as many {self._what} as it can hold",
                    f"本服务的{self._what.zh}已达上限",
                )
            )
        if client != ANONYMOUS and self._taken[client] >= self._each:
            raise RateLimited(
                Sentence(
                    f"this key has {self._each} {self._what} already",
                    f"这个密钥的{self._what.zh}已达 {self._each} 个",
                )
            )

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """One place, left again at the end."""
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
