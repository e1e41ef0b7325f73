"""The percentage: learned, monotonic, and never 100 before the picture is there."""

import queue
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.jobs import Progress, Stage
from shared.params import executed_steps
from worker.engine.interface import EngineEvent, StepDone
from worker.job.attempt import SILENCE_SECONDS, next_event, own_seconds
from worker.job.history import StageCosts
from worker.job.progress import (
    GAP_SECONDS,
    LAST_PERCENT,
    MOST_BY_TIME,
    EnlargingCost,
    ProgressThrottle,
    ProgressTracker,
    Tracker,
)

EVEN = StageCosts(seconds=dict.fromkeys(Stage, 1.0))


def test_each_stage_and_step_moves_the_percentage_by_its_share_of_the_time() -> None:
    tracker = ProgressTracker(EVEN, megapixels=1.0, steps=5)  # ten units of work in all
    assert tracker.enter(Stage.LOADING).percent == 0
    assert tracker.enter(Stage.ENCODING).percent == 10
    assert tracker.enter(Stage.DENOISING).percent == 20
    assert [tracker.step(step).percent for step in range(1, 6)] == [30, 40, 50, 60, 70]
    assert tracker.enter(Stage.DECODING).percent == 70
    assert tracker.enter(Stage.SAVING).percent == 90


def test_opening_the_photo_counts_as_done_when_the_engine_gets_it() -> None:
    tracker = ProgressTracker(EVEN, megapixels=1.0, steps=5, opened=2.5)  # before ten units of work
    opened = tracker.enter(Stage.LOADING)
    assert (opened.percent, opened.eta_seconds) == (20, 10)
    assert tracker.enter(Stage.ENCODING).percent == pytest.approx(28)


def test_checking_and_saving_count_by_the_pixels_of_the_result() -> None:
    # Ten seconds' work at the photo's size, and two stages of 16 at four times its sides
    tracker = ProgressTracker(EVEN, megapixels=1.0, steps=5, result_megapixels=16.0)
    tracker.enter(Stage.DENOISING)
    tracker.step(5)
    assert tracker.enter(Stage.CHECKING).percent == pytest.approx(100 * 8 / 40)
    assert tracker.part(Stage.CHECKING, 1, 2).percent == pytest.approx(100 * 16 / 40)
    tracker.part(Stage.CHECKING, 2, 2)
    assert tracker.enter(Stage.SAVING).percent == pytest.approx(100 * 24 / 40)


def test_the_remaining_time_is_what_the_rest_has_cost_before() -> None:
    tracker = ProgressTracker(EVEN, megapixels=1.0, steps=5)
    tracker.enter(Stage.DENOISING)
    assert tracker.step(3).eta_seconds == pytest.approx(5.0)


def test_what_each_stage_took_is_kept_for_the_history() -> None:
    times = iter([0.0, 0.0, 0.0, 2.0, 2.0, 5.0, 5.0])
    tracker = ProgressTracker(EVEN, 1.0, 1, clock=lambda: next(times))
    tracker.enter(Stage.LOADING)
    tracker.enter(Stage.SAVING)
    tracker.finish()
    assert tracker.spent == {Stage.LOADING: 2.0, Stage.SAVING: 3.0}


@settings(deadline=None)
@given(
    costs=st.lists(st.floats(1e-3, 1e3), min_size=len(Stage), max_size=len(Stage)),
    megapixels=st.floats(0.001, 4),
    steps=st.integers(1, 50),
)
def test_it_never_goes_back_and_never_says_100_early(
    costs: list[float], megapixels: float, steps: int
) -> None:
    seconds = dict(zip(Stage, costs, strict=True))
    tracker = ProgressTracker(StageCosts(seconds=seconds), megapixels, steps)
    percents = []
    for stage in Stage:
        percents.append(tracker.enter(stage).percent)
        if stage is Stage.DENOISING:
            percents += [tracker.step(step).percent for step in range(1, steps + 1)]
    assert percents == sorted(percents)
    assert percents[-1] <= LAST_PERCENT
    assert tracker.finish().percent == 100


@pytest.mark.parametrize(
    ("steps", "strength", "executed"),
    [(10, 0.4, 4), (10, 0.05, 1), (1, 1.0, 1), (50, 1.0, 50), (10, 0.39, 3), (3, 0.3, 1)],
)
def test_steps_are_counted_as_they_are_executed(steps: int, strength: float, executed: int) -> None:
    assert executed_steps(steps, strength) == executed


def test_the_time_of_other_pictures_in_between_is_not_learned() -> None:
    parts = {"preview": 0.5, "loading": 0.25, "denoising": 2.0, "saving": 0.1}
    assert own_seconds(parts) == {
        Stage.LOADING: 0.75,
        Stage.DENOISING: 2.0,
        Stage.SAVING: 0.1,
    }


def progress(percent: float) -> Progress:
    return Progress(stage=Stage.DENOISING, percent=percent, step=0, total_steps=10)


def test_of_a_burst_the_first_is_told_at_once_and_the_last_a_moment_later() -> None:
    now, told = [100.0], list[float]()
    throttle = ProgressThrottle(lambda each: told.append(each.percent), clock=lambda: now[0])
    assert throttle.next_report_seconds is None
    # Given that it is not the burst of a job's begin, which may be over before anybody looks
    throttle.report(progress(1.0))
    assert told == []
    now[0] += 2 * GAP_SECONDS
    for percent in (10.0, 20.0, 30.0):
        throttle.report(progress(percent))
    assert told == [10.0]
    assert throttle.next_report_seconds == pytest.approx(GAP_SECONDS)
    now[0] += GAP_SECONDS
    throttle.flush()
    throttle.flush()
    assert told == [10.0, 30.0]
    assert throttle.next_report_seconds is None
    # And what comes after a while is told at once again
    now[0] += GAP_SECONDS
    throttle.report(progress(40.0))
    assert told == [10.0, 30.0, 40.0]


def test_while_the_engine_is_silent_what_it_said_last_is_passed_on() -> None:
    told: list[float] = []
    throttle = ProgressThrottle(lambda each: told.append(each.percent))
    throttle.report(progress(10.0))
    throttle.report(progress(20.0))
    events: queue.SimpleQueue[EngineEvent | None] = queue.SimpleQueue()
    late = threading.Timer(20 * GAP_SECONDS, events.put, args=(StepDone(1, 10),))
    late.start()
    tracker = ProgressTracker(StageCosts(), megapixels=1.0, steps=10)
    assert next_event(events, throttle, tracker) == StepDone(1, 10)
    assert told[0] == 20.0
    late.join()


def test_while_the_engine_is_silent_the_percentage_follows_the_time_but_not_to_the_end() -> None:
    # Given a picture of one step, which is expected to take one of six seconds
    now = 100.0
    tracker = ProgressTracker(EVEN, megapixels=1.0, steps=1, clock=lambda: now)
    tracker.enter(Stage.ENCODING)
    begun = tracker.enter(Stage.DENOISING).percent
    # When half of that time passes without a word, and then much more
    now += 0.5
    half = tracker.passing()
    now += 100.0
    late = tracker.passing()
    # Then the rest of the step waits for the engine's word
    assert begun == pytest.approx(33.3)
    assert half.percent == pytest.approx(41.7)
    assert half.eta_seconds == pytest.approx(3.5)
    assert late.percent == pytest.approx(33.3 + MOST_BY_TIME * 16.7, abs=0.1)
    assert tracker.step(1).percent == 50
    now += 1.0
    assert tracker.passing().percent == 50  # all that is known of the stage is done


def test_time_counts_in_parts_tiles_and_passes_over_smaller_pictures() -> None:
    now = 0.0
    cost = EnlargingCost(4.0, Stage.DECODING)
    tracker = ProgressTracker(EVEN, 1.0, 1, lambda: now, enlarging=cost, coarser=[1.0])
    whole = 6 + 4 + 3

    def after(seconds: float, of: Tracker = tracker) -> float:
        nonlocal now
        now += seconds
        return of.passing().percent * whole / 100

    coarse = next(tracker.coarse_passes())
    coarse.enter(Stage.DENOISING)
    assert after(0.5, coarse) == pytest.approx(3 * 2.5 / 6, abs=0.05)
    coarse.finish()
    tracker.enter(Stage.ENCODING)
    tracker.part(Stage.ENCODING, 1, 2)
    assert after(0.25) == pytest.approx(3 + 1 + 0.75, abs=0.05)
    tracker.enter(Stage.DECODING)
    tracker.tile(1, 4)
    before = tracker.passing().percent * whole / 100
    assert after(0.5) == pytest.approx(before + 0.5, abs=0.05)


def test_time_counts_in_an_enlargement_of_a_single_tile() -> None:
    now = 0.0
    cost = EnlargingCost(4.0, Stage.DECODING)
    tracker = ProgressTracker(EVEN, 1.0, 1, lambda: now, enlarging=cost)
    tracker.enter(Stage.DECODING)
    begun = tracker.tile(0, 1).percent  # the decoding itself is over by then
    now = 2.0
    assert tracker.passing().percent == pytest.approx(begun + 100 * 2 / 10, abs=0.1)
    assert begun == pytest.approx(100 * 4 / 10, abs=0.1)


def test_a_silent_engine_is_asked_about_the_time_again_and_again() -> None:
    told: list[float] = []
    throttle = ProgressThrottle(lambda each: told.append(each.percent))
    tracker = ProgressTracker(EVEN, megapixels=1.0, steps=1)
    tracker.enter(Stage.DENOISING)
    events: queue.SimpleQueue[EngineEvent | None] = queue.SimpleQueue()
    late = threading.Timer(3 * SILENCE_SECONDS, events.put, args=(None,))
    late.start()
    assert next_event(events, throttle, tracker) is None
    assert told
    assert told == sorted(told)
    late.join()


def test_the_percentage_counts_every_tile_although_their_stages_overlap() -> None:
    # Given stages that cost the same, and three tiles that go through all of them one by one
    tracker = ProgressTracker(EVEN, megapixels=1.0, steps=1)
    stages = (Stage.ENCODING, Stage.DENOISING, Stage.DECODING)
    whole = len(Stage)
    tracker.enter(Stage.ENCODING)
    percents = []
    for done in (1, 2, 3):
        for stage in stages:
            if done == 1 and stage is Stage.DENOISING:
                tracker.enter(stage)
            percents.append(tracker.part(stage, done, 3).percent)
    # Then each unit of work is as much of the whole
    expected = [100 * (1 + count / 3) / whole for count in range(1, 10)]
    assert percents == [pytest.approx(percent, abs=0.06) for percent in expected]


def test_passes_over_smaller_pictures_count_by_their_size_and_for_no_stage() -> None:
    # Given 6 units of work for the picture, and 3/16 and 3/4 before it
    times = iter([0.0, *(float(second) for second in range(50))])
    tracker = ProgressTracker(EVEN, 1.0, 1, lambda: next(times), coarser=[1 / 16, 1 / 4])
    whole = len(Stage) + 3 / 16 + 3 / 4
    # When the engine goes twice through its stages
    percents = []
    for coarse in tracker.coarse_passes():
        percents += [coarse.enter(Stage.DENOISING).percent, coarse.step(1).percent]
        percents.append(coarse.finish().percent)
    after = tracker.enter(Stage.ENCODING).percent
    # Then the percentage grows all the while, and the loading took no longer than before
    assert percents == sorted(percents)
    assert percents[0] > 0
    assert after == pytest.approx(100 * (1 + 3 / 16 + 3 / 4) / whole, abs=0.1)
    assert tracker.spent[Stage.LOADING] <= 2.0


def tracker_of(seconds: list[float], expected: StageCosts = EVEN) -> ProgressTracker:
    """A job of six stages that took so long each."""
    now = 0.0

    def clock() -> float:
        return now

    tracker = ProgressTracker(expected, megapixels=1.0, steps=1, clock=clock)
    for stage, spent in zip(Stage, seconds, strict=True):
        tracker.enter(stage)
        now += spent
    tracker.finish()
    return tracker


def test_a_percentage_that_was_right_has_missed_by_no_more_than_a_stage() -> None:
    misses = tracker_of([1.0] * 6).misses()

    assert misses == pytest.approx({25: 8.3, 50: 0, 75: 8.3}, abs=0.1)


def test_a_stage_that_took_longer_than_expected_shows_in_every_quarter_after_it() -> None:
    # Half of the time has gone by in a stage that was thought to be a sixth
    misses = tracker_of([5.0, 1.0, 1.0, 1.0, 1.0, 1.0]).misses()

    assert misses == pytest.approx({25: 25, 50: 33.3, 75: 25}, abs=0.1)


def test_a_job_of_less_than_a_second_is_no_measure_of_a_percentage() -> None:
    assert tracker_of([0.1] * 6).misses() == {}
