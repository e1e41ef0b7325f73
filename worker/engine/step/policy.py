"""Which rows the device works on next.

Pure: rows in, rows out. Previews go first, but after a number of their units a job gets one unit.
Interactive jobs go before batch jobs, and waiting time counts: a batch row that has waited longer
than the others' advantage goes before them. So no row starves, and a preview waits for one unit at
most.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

from worker.engine.interface import Urgency

# The advantage of each priority, in units of work: a row may arrive this much later and still go
# first.
ADVANTAGE = {Urgency.PREVIEW: 0, Urgency.INTERACTIVE: 0, Urgency.BATCH: 800}

# Units of previews in a row, about four previews, before a job gets one unit, or a turn of it.
PREVIEWS_IN_A_ROW = 12
# Encoding, one step, decoding.
UNITS_OF_A_PREVIEW = 3


class Waiting(Protocol):
    """The properties of a row that the policy uses."""

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
    """Lower goes first. `arrived` counts the engine's units of work, so a waiting row's score stays
    constant while those of new rows grow.
    """
    return row.arrived + ADVANTAGE[row.urgency]


def next_row(
    rows: Sequence[Candidate], limit: Callable[[Candidate], int], previews_in_a_row: int = 0
) -> Candidate | None:
    """The ready row whose unit of work comes next, if there is one.

    `previews_in_a_row` units of previews have been done since the last one of a job. Of the best
    jobs, as many as may share a step with the first one (`limit`), those that have to be encoded or
    decoded go before those that step, so that as many rows as possible share each step.
    """
    ready = sorted((row for row in rows if row.is_ready), key=score)
    previews = [row for row in ready if row.urgency is Urgency.PREVIEW]
    jobs = [row for row in ready if row.urgency is not Urgency.PREVIEW]
    if previews and (not jobs or previews_in_a_row < PREVIEWS_IN_A_ROW):
        return previews[0]
    if not jobs:
        return None
    active = jobs[: limit(jobs[0])]
    return next((row for row in active if not row.steps_next), active[0])


def after_a_turn(previews_in_a_row: int) -> int:
    """The count once a job has had its turn in the middle of a unit: one preview may go first."""
    return min(previews_in_a_row, PREVIEWS_IN_A_ROW - UNITS_OF_A_PREVIEW)


def batch_mates(
    chosen: Candidate, rows: Sequence[Candidate], buckets: Sequence[Hashable], limit: int
) -> list[Candidate]:
    """The chosen row and those that may share its step (with an equal bucket), best first, up to
    `limit`.

    `buckets[i]` is the bucket of `rows[i]`, None if that row does not step next.
    """
    own = buckets[rows.index(chosen)]
    others = [
        row
        for row, bucket in zip(rows, buckets, strict=True)
        if row is not chosen and row.is_ready and bucket is not None and bucket == own
    ]
    return [chosen, *sorted(others, key=score)][:limit]
