"""A job's percentage and remaining time, from measured durations of earlier stages.

Owns the arithmetic, and how often progress is reported. Does not know where the numbers are stored
or shown.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.jobs import Progress, Stage
from worker.job.history import StageCosts

ORDER = {stage: number for number, stage in enumerate(Stage)}

# Only the ledger reports 100, when the picture can be fetched.
LAST_PERCENT = 99.0

# Faster than the eye can follow; each report costs gateway, worker and store about a millisecond
# each.
GAP_SECONDS = 0.03

# Of what the engine is doing, time alone counts for no more than this share: the rest is its word.
MOST_BY_TIME = 0.9

# When the percentage is compared with the time that had really passed, and for which jobs.
QUARTERS = (25, 50, 75)
LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class EnlargingCost:
    """Expected seconds of an enlargement, and the stage that includes it."""

    seconds: float = 0.0
    stage: Stage = Stage.DECODING


class ProgressTracker:
    """Turns stages, steps and tiles into a percentage that never decreases.

    `opened` are the seconds that opening and judging the photo took before; they count as done.
    """

    def __init__(
        self,
        costs: StageCosts,
        megapixels: float,
        steps: int,
        clock: Callable[[], float] = time.monotonic,
        enlarging: EnlargingCost | None = None,
        result_megapixels: float | None = None,
        coarser: Sequence[float] = (),
        opened: float = 0.0,
    ) -> None:
        self._planned = costs.planned(megapixels, steps, result_megapixels)
        self._costs = costs
        # Of every pass over a smaller picture that comes before: megapixels, and expected seconds.
        self._smaller = tuple(coarser)
        self._coarser = [self._of_engine(costs, each, steps) for each in coarser]
        self._passed = 0.0
        self._enlarging = enlarging or EnlargingCost()
        self._enlarged = 0.0
        self._is_enlarging = False
        self._opened = opened
        self._whole = opened + sum(self._planned.values()) + sum(self._coarser)
        self._whole += self._enlarging.seconds
        self._steps = steps
        self._clock = clock
        self._stage = Stage.LOADING
        self._since = clock()
        self._began = self._since - opened
        self._step = 0
        # The engine's present piece of work (a step, a part, a tile): expected seconds, and begin.
        self._piece = 0.0
        self._piece_since = self._since
        self._percent = 0.0
        self._ended = 0.0
        self._parts: dict[Stage, float] = {}
        self._shown: list[tuple[float, float]] = [(self._began, 0.0)]
        # Every stage with its begin and end by the clock.
        self.stages: list[tuple[Stage, float, float]] = []
        self.spent: dict[Stage, float] = {}

    def enter(self, stage: Stage) -> Progress:
        """Records that the job has entered a stage."""
        self._since = self._close_stage()
        self._stage = stage
        return self._progress(self._piece_of(stage, 0, self._pieces_of(stage)))

    def step(self, step: int) -> Progress:
        """Records that the job has executed its `step`-th step."""
        self._step = step
        return self._progress(self._piece_of(Stage.DENOISING, step, self._steps))

    def part(self, stage: Stage, done: int, total: int) -> Progress:
        """Records how much of a stage is done, whichever stage the job entered last."""
        self._parts[stage] = done / total
        return self._progress(self._piece_of(stage, done, total))

    def tile(self, tile: int, total: int) -> Progress:
        """Records how many of the enlargement's tiles are done; 0 is its beginning."""
        self._is_enlarging = True
        self._enlarged = max(self._enlarged, tile / total)
        return self._progress(self._enlarging.seconds / total if tile < total else 0.0)

    def passing(self) -> Progress:
        """What the time that passes says, while the engine is silent."""
        now = self._clock()
        return self._shown_as(now, min(now - self._piece_since, MOST_BY_TIME * self._piece))

    def coarse_passes(self) -> Iterator["CoarseTracker"]:
        """A tracker for each pass over a smaller picture, in their order."""
        for number, megapixels in enumerate(self._smaller):
            own = ProgressTracker(self._costs, megapixels, self._steps, self._clock)
            yield CoarseTracker(own, self, number)

    def coarser(self, number: int, share: float) -> Progress:
        """Records how much (0 to 1) of the coarse pass `number` is done.

        The time that it takes counts for no stage.
        """
        self._passed = sum(self._coarser[:number]) + share * self._coarser[number]
        self._since = self._clock()
        return self._progress()

    def is_seen(self, stage: Stage) -> bool:
        """Whether a whole stage is expected to take long enough for being told."""
        return self._planned[stage] >= GAP_SECONDS

    def finish(self) -> Progress:
        """Records the end of the job; `spent` then holds the durations of its stages."""
        self._ended = self._close_stage()
        return Progress(
            stage=None, percent=100.0, step=self._steps, total_steps=self._steps, eta_seconds=0.0
        )

    def misses(self) -> dict[int, float]:
        """By how many points the percentage was wrong when a quarter, a half and three quarters of
        the time had really passed. Empty for jobs of a second or less, and before `finish`.
        """
        whole = self._ended - self._began
        if whole <= LEAST_SECONDS:
            return {}
        return {
            quarter: abs(self._shown_at(self._began + whole * quarter / 100) - quarter)
            for quarter in QUARTERS
        }

    def _shown_at(self, moment: float) -> float:
        return next(percent for at, percent in reversed(self._shown) if at <= moment)

    def _close_stage(self) -> float:
        """Returns the present time."""
        now = self._clock()
        self.stages.append((self._stage, self._since, now))
        self.spent[self._stage] = self.spent.get(self._stage, 0.0) + now - self._since
        return now

    def _pieces_of(self, stage: Stage) -> int:
        return self._steps if stage is Stage.DENOISING else 1

    def _piece_of(self, stage: Stage, done: int, pieces: int) -> float:
        """Expected seconds of a stage's next piece; 0 when all are done."""
        return self._planned[stage] / pieces if done < pieces else 0.0

    def _progress(self, piece: float = 0.0) -> Progress:
        """What the events say; the next piece is expected to take so many seconds."""
        self._piece, self._piece_since = piece, self._clock()
        return self._shown_as(self._piece_since, 0.0)

    def _shown_as(self, now: float, passing: float) -> Progress:
        done = self._done_seconds() + passing
        self._percent = max(self._percent, min(LAST_PERCENT, 100 * done / self._whole))
        self._shown.append((now, self._percent))
        return Progress(
            stage=self._stage,
            percent=round(self._percent, 1),
            step=self._step,
            total_steps=self._steps,
            eta_seconds=round(max(0.0, self._whole - done), 2),
        )

    def _done_seconds(self) -> float:
        done = sum(seconds * self._share(stage) for stage, seconds in self._planned.items())
        return done + self._enlarging_done() + self._passed + self._opened

    @staticmethod
    def _of_engine(costs: StageCosts, megapixels: float, steps: int) -> float:
        planned = costs.planned(megapixels, steps)
        return sum(planned[stage] for stage in (Stage.ENCODING, Stage.DENOISING, Stage.DECODING))

    def _share(self, stage: Stage) -> float:
        """How much of a stage is done, 0 to 1."""
        if stage in self._parts:
            return self._parts[stage]
        if stage is self._stage is Stage.DENOISING:
            return self._step / self._steps
        return float(ORDER[stage] < ORDER[self._stage])

    def _enlarging_done(self) -> float:
        """The part of the enlargement that is done, and of the decoding before it, in expected
        seconds.
        """
        cost = self._enlarging
        if ORDER[self._stage] > ORDER[cost.stage]:
            return cost.seconds
        follows_decoding = self._is_enlarging and cost.stage is Stage.DECODING
        decoded = follows_decoding and self._share(Stage.DECODING) == 0
        before = self._planned[Stage.DECODING] if decoded else 0.0
        return before + cost.seconds * self._enlarged


class Tracker(Protocol):
    """What the engine's events are told to."""

    def enter(self, stage: Stage) -> Progress: ...
    def step(self, step: int) -> Progress: ...
    def part(self, stage: Stage, done: int, total: int) -> Progress: ...
    def tile(self, tile: int, total: int) -> Progress: ...
    def passing(self) -> Progress: ...


class CoarseTracker:
    """Counts a pass over a smaller picture as a part of the job that it belongs to."""

    def __init__(self, own: ProgressTracker, whole: ProgressTracker, number: int) -> None:
        self._own = own
        self._whole = whole
        self._number = number

    def enter(self, stage: Stage) -> Progress:
        return self._counted(self._own.enter(stage))

    def step(self, step: int) -> Progress:
        return self._counted(self._own.step(step))

    def part(self, stage: Stage, done: int, total: int) -> Progress:
        return self._counted(self._own.part(stage, done, total))

    def tile(self, tile: int, total: int) -> Progress:
        return self._counted(self._own.tile(tile, total))

    def passing(self) -> Progress:
        return self._counted(self._own.passing())

    def finish(self) -> Progress:
        """Records that the pass is done, whatever its last event was."""
        return self._whole.coarser(self._number, 1.0)

    def _counted(self, own: Progress) -> Progress:
        return self._whole.coarser(self._number, own.percent / 100)


class ProgressThrottle:
    """Throttles progress reports: of several within 30 ms only the newest is sent, and none within
    the first 30 ms.

    A caller that waits for events waits at most `next_report_seconds`, then calls `flush`.
    """

    def __init__(
        self, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._reported_at = clock()
        self._waiting: Progress | None = None

    @property
    def next_report_seconds(self) -> float | None:
        """Seconds until the held-back report is to be sent; None when nothing is held back."""
        if self._waiting is None:
            return None
        return max(0.0, self._reported_at + GAP_SECONDS - self._clock())

    def report(self, progress: Progress) -> None:
        """Sends this report if the last one was long enough ago, otherwise holds it back."""
        self._waiting = progress
        if not self.next_report_seconds:
            self.flush()

    def flush(self) -> None:
        """Sends the report that is held back, if there is one."""
        progress, self._waiting = self._waiting, None
        if progress is not None:
            self._report(progress)
            self._reported_at = self._clock()
