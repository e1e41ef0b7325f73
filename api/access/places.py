"""Limits on how many of something exist at the same time, per caller and in total.

Owns counting what holds a connection for long: uploads in progress and followers of jobs. Each
gateway counts its own. Used on the event loop only.
"""

from collections import Counter
from types import TracebackType

from api.access.keys import ANONYMOUS
from api.wire.sentence import Sentence
from shared.errors import Overloaded, RateLimited


class Places:
    """Places that are taken and given back. Callers without a key share the common ones."""

    def __init__(self, in_all: int, each: int, what: Sentence) -> None:
        self._in_all = in_all
        self._each = each
        self._what = what
        self._taken: Counter[str] = Counter()

    def take(self, client: str) -> "Place":
        """Takes a place; checking and taking are one step. Raises Overloaded, RateLimited."""
        self._check(client)
        self._taken[client] += 1
        return Place(self, client)

    def give_back(self, client: str) -> None:
        """Frees one of this client's places."""
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]

    def _check(self, client: str) -> None:
        if self._taken.total() >= self._in_all:
            raise Overloaded(
                Sentence(
                    f"this service has reached its limit of {self._what}",
                    f"本服务的{self._what.zh}已达上限",
                )
            )
        if client != ANONYMOUS and self._taken[client] >= self._each:
            raise RateLimited(
                Sentence(
                    f"this key or address has {self._each} {self._what} already",
                    f"这个密钥或地址的{self._what.zh}已达 {self._each} 个",
                )
            )


class Place:
    """One taken place. Leave it once or more often, or use it in a `with` block."""

    def __init__(self, places: Places, client: str) -> None:
        self._places = places
        self._client = client
        self._is_taken = True

    def leave(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._places.give_back(self._client)

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()
