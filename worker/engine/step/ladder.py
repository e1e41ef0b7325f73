"""The memory ladder: when memory runs out, each step gives something up and tries again.

Owns the order of steps. What is given up for a row applies to its own later units, and to no
others: rows that do not fit together are first tried in smaller batches, so that only rows that do
not fit alone go further.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import structlog
import torch

logger = structlog.get_logger(__name__)


class Recovery(Protocol):
    """What an engine can give up. Each method returns whether it changed anything."""

    def evict_adapters(self) -> bool: ...
    def tile(self) -> bool: ...
    def offload(self) -> bool: ...
    def restore(self) -> None: ...


class Climber(Protocol):
    """A row, as the ladder sees it."""

    degraded: list[str]

    def degrade(self, *codes: str) -> None: ...
    def fit_among(self, count: int) -> None: ...


Row = TypeVar("Row", bound=Climber)


class DoesNotFit(Exception, Generic[Row]):
    """Raised after the last step, with the one row that does not fit by itself."""

    def __init__(self, row: Row) -> None:
        super().__init__("the device cannot hold this row")
        self.row = row


class Ladder:
    """Runs work on rows, going down the ladder as far as necessary."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self._lasting = {"vae_tiling": recovery.tile, "model_offload": recovery.offload}
        self._standing: set[str] = set()

    def climb(self, rows: Sequence[Row], work: Callable[[list[Row]], None]) -> None:
        """Runs `work` on all rows, together if they fit; each records what was given up for it.

        `work` changes its rows only when it succeeds. Raises DoesNotFit; rows processed before that
        row are done.
        """
        self._stand_where_needed(rows)
        waiting = [list(rows)]
        while waiting:
            waiting = [*self._tried(waiting.pop(0), work), *waiting]

    def _tried(self, group: list[Row], work: Callable[[list[Row]], None]) -> list[list[Row]]:
        """Runs the work of a group; returns the smaller groups in which it must be done, if
        necessary.
        """
        is_alone = len(group) == 1
        rungs = {"adapters_evicted": self._recovery.evict_adapters}
        for code, rung in (rungs | (self._lasting if is_alone else {})).items():
            # Even if nothing was given up: freed memory may be contiguous by now.
            if _fits(group, work):
                return []
            if rung():
                self._standing |= {code} & set(self._lasting)
                logger.warning("out of memory", gave_up=code, rows=len(group))
                for row in group:
                    row.degrade(code)
        if _fits(group, work):
            return []
        if is_alone:
            raise DoesNotFit(group[0])
        return _halves(group)

    def _stand_where_needed(self, rows: Sequence[Row]) -> None:
        """Restores what was given up for other rows, and gives up again what these rows need."""
        needed = {code for row in rows for code in row.degraded}
        if self._standing - needed:
            try:
                self._recovery.restore()
                self._standing.clear()
            except torch.OutOfMemoryError:
                # Memory that others have taken since leaves no room for it: these rows continue
                # without it.
                for row in rows:
                    row.degrade(*sorted(self._standing))
        for code, rung in self._lasting.items():
            if code in needed and code not in self._standing and rung():
                self._standing.add(code)


def _fits(group: list[Row], work: Callable[[list[Row]], None]) -> bool:
    try:
        work(group)
    except torch.OutOfMemoryError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
    return True


def _halves(group: list[Row]) -> list[list[Row]]:
    middle = (len(group) + 1) // 2
    logger.warning("out of memory", gave_up="smaller_batch", rows=len(group))
    for row in group:
        row.fit_among(middle)
    return [group[:middle], group[middle:]]
