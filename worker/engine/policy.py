"""Which rows the device works on next.

Pure: rows in, rows out. Previews go first, interactive before batch, and age counts: a row that has
waited longer than the others' advantage overtakes them, so that none starves.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

from worker.engine.interface import Urgency

# The advantage over a row of the next class, in units of work that the engine does meanwhile.
ADVANTAGE = {Urgency.PREVIEW: 0, Urgency.INTERACTIVE: 200, Urgency.BATCH: 1000}


class Waiting(Protocol):
    """What the policy looks at."""

    @property
    def urgency(self) -> Urgency: ...
    @property
    def arrived(self) -> int: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def steps_next(self) -> bool: ...


Candidate = TypeVar("Candidate", bound=Waiting)


def score(row: Waiting) -> int:
    """Lower goes first. `arrived` counts the engine's units of work, so a waiting row's score
    stays while those of newcomers grow."""
    return row.arrived + ADVANTAGE[row.urgency]


def next_row(rows: Sequence[Candidate], limit: Callable[[Candidate], int]) -> Candidate | None:
    """The ready row whose unit of work comes next, if there is one.

    Of the best rows, as many as may step with the very best (`limit`), those that cannot step yet
    or no more go before those that step, so that steps are shared by as many rows as may share
    them. A preview waits for nobody.
    """
    active = sorted((row for row in rows if row.is_ready), key=score)
    active = active[: limit(active[0])] if active else []
    if not active or active[0].urgency is Urgency.PREVIEW:
        return active[0] if active else None
    return next((row for row in active if not row.steps_next), active[0])


def companions(
    chosen: Candidate, rows: Sequence[Candidate], buckets: Sequence[Hashable], limit: int
) -> list[Candidate]:
    """The chosen row and those that may step with it (an equal bucket), best first, up to `limit`.

    `buckets[i]` is the bucket of `rows[i]`, None where that row does not step next.
    """
    own = buckets[rows.index(chosen)]
    others = [
        row
        for row, bucket in zip(rows, buckets, strict=True)
        if row is not chosen and row.is_ready and bucket is not None and bucket == own
    ]
    return [chosen, *sorted(others, key=score)][:limit]
