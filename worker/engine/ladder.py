"""Out of memory is a ladder, not a death: each rung gives something up and tries again.

Owns the rungs' order. What a row made necessary holds for its own later units, and for no others'.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

import structlog
import torch

logger = structlog.get_logger(__name__)

Row = TypeVar("Row")


class Relief(Protocol):
    """What an engine can give up. Each rung says whether it changed anything."""

    def evict_adapters(self) -> bool: ...
    def tile(self) -> bool: ...
    def offload(self) -> bool: ...
    def restore(self) -> None: ...


class DoesNotFit(Exception, Generic[Row]):
    """Raised above the last rung, with the one row that does not fit by itself."""

    def __init__(self, row: Row, given_up: Sequence[str]) -> None:
        super().__init__("the device cannot hold this row")
        self.row = row
        self.given_up = given_up


class Ladder:
    """Does work on rows, climbing as far as it must."""

    def __init__(self, relief: Relief) -> None:
        self._relief = relief
        self._standing: set[str] = set()

    def climb(
        self,
        rows: Sequence[Row],
        work: Callable[[list[Row]], None],
        needed: Collection[str] = (),
    ) -> list[str]:
        """Do `work` on all rows, together if they fit; the codes of what was given up for it.

        `needed` is what these rows made necessary before. `work` changes its rows only when it
        succeeds. Raises DoesNotFit.
        """
        groups, given_up = [list(rows)], list[str]()
        rungs = self._rungs(groups)
        self._stand_on(rungs, needed)
        for code, rung in rungs:
            # Also after a rung that gave up nothing: memory that was freed may be in one piece now.
            if self._all_done(groups, work):
                return given_up
            if rung():
                given_up.append(code)
                self._standing.add(code)
                logger.warning("out of memory", gave_up=code)
        if not self._all_done(groups, work):
            raise DoesNotFit(groups[0][0], given_up)
        return given_up

    def _stand_on(
        self, rungs: Sequence[tuple[str, Callable[[], bool]]], needed: Collection[str]
    ) -> None:
        """Take back what others needed, give up again what these rows need."""
        if self._standing - set(needed):
            self._relief.restore()
            self._standing.clear()
        for code, rung in rungs:
            if code in needed and code not in self._standing and rung():
                self._standing.add(code)

    def _rungs(self, groups: list[list[Row]]) -> list[tuple[str, Callable[[], bool]]]:
        return [
            ("adapters_evicted", self._relief.evict_adapters),
            ("vae_tiling", self._relief.tile),
            ("smaller_batch", lambda: _split(groups)),
            ("model_offload", self._relief.offload),
        ]

    def _all_done(self, groups: list[list[Row]], work: Callable[[list[Row]], None]) -> bool:
        try:
            while groups:
                work(groups[0])
                groups.pop(0)
        except torch.OutOfMemoryError:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return False
        return True


def _split(groups: list[list[Row]]) -> bool:
    """From now on one row at a time."""
    together = any(len(group) > 1 for group in groups)
    groups[:] = [[row] for group in groups for row in group]
    return together
