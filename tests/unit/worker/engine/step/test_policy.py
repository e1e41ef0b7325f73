"""Who goes next: no order of arrivals starves a row, and previews wait for one unit."""

from dataclasses import dataclass
from itertools import pairwise

from worker.engine.interface import Urgency
from worker.engine.step.policy import ADVANTAGE, PREVIEWS_IN_A_ROW, batch_mates, next_row


@dataclass(eq=False)
class Waiting:
    urgency: Urgency
    arrived: int
    is_ready: bool = True
    steps_next: bool = True


def test_a_preview_overtakes_everything_however_old() -> None:
    rows = [
        Waiting(Urgency.BATCH, 0),
        Waiting(Urgency.INTERACTIVE, 5),
        Waiting(Urgency.PREVIEW, 9000),
    ]
    assert next_row(rows, lambda _: 1) is rows[2]


def test_a_stream_of_previews_leaves_a_job_a_unit_now_and_then_and_waits_for_one_at_the_most() -> (
    None
):
    # Given a job of many units, and previews that never end
    job, worked, in_a_row = Waiting(Urgency.BATCH, 0), list[Urgency](), 0
    for clock in range(200):
        row = next_row([job, Waiting(Urgency.PREVIEW, clock)], lambda _: 1, in_a_row)
        assert row is not None
        in_a_row = in_a_row + 1 if row.urgency is Urgency.PREVIEW else 0
        worked.append(row.urgency)
    # Then the job gets its share, one unit at a time
    turns = [at for at, urgency in enumerate(worked) if urgency is Urgency.BATCH]
    assert turns
    assert {after - at for at, after in pairwise(turns)} == {PREVIEWS_IN_A_ROW + 1}


def test_interactive_goes_before_batch_and_older_before_newer() -> None:
    rows = [
        Waiting(Urgency.BATCH, 0),
        Waiting(Urgency.INTERACTIVE, 9),
        Waiting(Urgency.INTERACTIVE, 5),
    ]
    assert next_row(rows, lambda _: 1) is rows[2]


def test_a_row_that_is_not_ready_holds_nobody_up() -> None:
    rows = [Waiting(Urgency.PREVIEW, 0, is_ready=False), Waiting(Urgency.BATCH, 0)]
    assert next_row(rows, lambda _: 8) is rows[1]
    assert next_row(rows[:1], lambda _: 8) is None


def test_only_rows_of_an_equal_bucket_step_together_and_never_too_many() -> None:
    rows = [Waiting(Urgency.INTERACTIVE, age) for age in range(5)]
    buckets = ["a", "b", "a", None, "a"]
    assert batch_mates(rows[0], rows, buckets, 8) == [rows[0], rows[2], rows[4]]
    assert batch_mates(rows[0], rows, buckets, 2) == [rows[0], rows[2]]


def test_an_old_batch_row_overtakes_a_stream_of_interactive_ones() -> None:
    old = Waiting(Urgency.BATCH, 0)
    for clock in range(ADVANTAGE[Urgency.BATCH] + 1):
        newcomer = Waiting(Urgency.INTERACTIVE, clock)
        if next_row([old, newcomer], lambda _: 1) is old:
            assert clock >= ADVANTAGE[Urgency.BATCH] - ADVANTAGE[Urgency.INTERACTIVE]
            return
    raise AssertionError("the batch row starved")
