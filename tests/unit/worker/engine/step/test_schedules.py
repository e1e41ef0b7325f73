"""Hundreds of random schedules through the real engine, with units that take no time.

Rows arrive while others run, differ in urgency and shape, are canceled, break, do not fit.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bases import TINY
from shared.errors import JobCanceled, LeaseLost, OutOfMemory
from shared.jobs import Stage
from tests.support.wait import wait_until
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import EngineLimits
from worker.engine.interface import (
    EngineEvent,
    EngineJob,
    PreviewReady,
    StageStarted,
    StepDone,
    Urgency,
)
from worker.engine.step import policy, step_engine
from worker.engine.step.rows import Row, Unit
from worker.engine.step.schedule import StepPlan
from worker.engine.step.step_engine import StepEngine

# Small, so that age decides within the length of a schedule.
ADVANTAGE = {Urgency.PREVIEW: 0, Urgency.INTERACTIVE: 0, Urgency.BATCH: 11}

STAGES = [Stage.LOADING, Stage.ENCODING, Stage.DENOISING, Stage.DECODING]

RUNGS = 3

Fate = Literal["done", "canceled", "lost", "breaks", "does not fit at first"]


class Broken(Exception):
    """Raised by a row that is to break."""


@dataclass(frozen=True)
class Arrival:
    """One job: when it comes, what it is like, and what is to become of it at step `at`; how often
    it does not fit, so that every rung has its turn and none is the last.
    """

    gap: int
    urgency: Urgency
    steps: int
    side: int
    preview: bool
    fate: Fate
    at: int
    failures: int = 1


@dataclass
class Told:
    """What a job's owner saw."""

    arrival: Arrival
    future: "Future[Any]" = field(default_factory=Future)
    events: list[EngineEvent] = field(default_factory=list)
    came: int = -1
    left: int = -1
    job: EngineJob | None = None

    @property
    def steps(self) -> list[int]:
        return [event.step for event in self.events if isinstance(event, StepDone)]

    @property
    def stages(self) -> list[Stage]:
        return [event.stage for event in self.events if isinstance(event, StageStarted)]


class World:
    """Time counted in units; the fake units turn its clock."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self.told = [Told(arrival) for arrival in arrivals]
        self.clock = 0
        self._due = 0
        self._next = 0
        self._lock = threading.Lock()
        self._starved: Counter[int] = Counter()
        self.complaints: list[str] = []

    def tick(self, engine: StepEngine) -> None:
        self.clock += 1
        came = self._next
        self.admit(engine)
        if self._next > came:
            # Whoever has come is ready before the next unit, or nobody would ever have to wait.
            engine._readers.submit(int).result()

    def admit(self, engine: StepEngine, at_least: int = 0) -> bool:
        """Hand over what is due; False when nothing is left to come."""
        with self._lock:
            while self._next < len(self.told) and (self.clock >= self._due or at_least > 0):
                at_least -= 1
                self._submit(engine, self.told[self._next])
                self._next += 1
            return self._next < len(self.told)

    def _submit(self, engine: StepEngine, told: Told) -> None:
        arrival = told.arrival
        pixels = np.zeros((arrival.side, 16, 3), np.uint8)
        told.came = self.clock
        told.job = EngineJob(
            pixels, "", "", 1.0, arrival.steps, 1.0, 0, preview=arrival.preview,
            urgency=arrival.urgency,
        )  # fmt: skip
        self._due = self.clock + arrival.gap
        told.future = engine.submit(told.job, lambda event: self._hear(told, event))
        told.future.add_done_callback(lambda _: setattr(told, "left", self.clock))

    def _hear(self, told: Told, event: EngineEvent) -> None:
        told.events.append(event)
        assert told.job is not None
        if isinstance(event, StepDone) and event.step == told.arrival.at:
            if told.arrival.fate == "canceled":
                told.job.stop.cancel()
            elif told.arrival.fate == "lost":
                told.job.stop.lose()

    def check_for_harm(self, row: Row) -> None:
        """Raise what this row is to raise now."""
        told = next(t for t in self.told if t.job is row.job or _is_preview_of(row, t))
        due = row.step + 1 == told.arrival.at and told.job is row.job
        if told.arrival.fate == "breaks" and due:
            raise Broken
        if told.arrival.fate == "does not fit at first" and due:
            self._starved[id(told)] += 1
            if self._starved[id(told)] <= told.arrival.failures:
                raise torch.OutOfMemoryError


def _is_preview_of(row: Row, told: Told) -> bool:
    return told.job is not None and row.job.stop is told.job.stop


class InstantUnits:
    """Moves rows on as the real units do, in no time."""

    world: World
    engine: StepEngine
    limits: EngineLimits

    def __init__(self, _loaded: LoadedBase, limits: EngineLimits, *_: object) -> None:
        self.limits = limits
        self.merger = SimpleNamespace(
            merged=SimpleNamespace(drop_unused=lambda: 0), pristine=lambda _name: None
        )

    def encode(self, rows: list[Row]) -> None:
        self.world.tick(self.engine)
        self._check_company(rows)
        for row in rows:
            row.plan = StepPlan(tuple(range(row.job.steps)), (1.0, 0.0), np.zeros((0, 6)))
            row.latents = torch.zeros(1, row.pixels.shape[0])
            row.unit = Unit.STEP

    def step(self, rows: list[Row]) -> None:
        self.world.tick(self.engine)
        self._check_company(rows)
        for row in rows:
            self.world.check_for_harm(row)
        for row in rows:
            row.step += 1
            if row.step == row.job.steps:
                row.unit = Unit.DECODE

    def decode(self, rows: list[Row]) -> list[Any]:
        self.world.tick(self.engine)
        self._check_company(rows)
        return [row.pixels for row in rows]

    def _check_company(self, rows: list[Row]) -> None:
        if len({row.bucket for row in rows}) != 1 or len(rows) > self.limits.rows_per_step:
            self.world.complaints.append(f"worked on together: {[row.bucket for row in rows]}")

    def leave(self, row: Row) -> None:
        """Nothing is held."""


class NoRecovery:
    """Gives up nothing, says so, and lets the work be tried again."""

    def __init__(self, *_: object) -> None:
        self.evict_adapters = self.tile = self.offload = lambda: True

    def restore(self) -> None:
        """Nothing was given up."""


@contextmanager
def instant_engine(
    world: World, rows_per_step: int, coded_together: int = 1
) -> Iterator[StepEngine]:
    limits = EngineLimits("cpu", rows_per_step, 1, 1, 1, pixels_coded=coded_together * 16 * 16)
    empty = SimpleNamespace(unet=torch.nn.Module(), vae=torch.nn.Module())
    loaded = LoadedBase(empty, TINY, torch.device("cpu"), torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_engine, "Units", InstantUnits)
        patch.setattr(step_engine, "MemoryRecovery", NoRecovery)
        patch.setattr(step_engine.logger, "warning", lambda *_, **__: None)
        patch.setattr(policy, "ADVANTAGE", ADVANTAGE)
        engine = StepEngine(loaded, limits)
        units: Any = engine._units
        units.world, units.engine = world, engine
        try:
            yield engine
        finally:
            engine.close()


arrivals = st.builds(
    Arrival,
    gap=st.integers(0, 6),
    urgency=st.sampled_from([Urgency.INTERACTIVE, Urgency.BATCH]),
    steps=st.integers(1, 8),
    side=st.sampled_from([16, 32]),
    preview=st.booleans(),
    fate=st.sampled_from(
        ["done", "done", "done", "canceled", "lost", "breaks", get_args(Fate)[-1]]
    ),
    at=st.integers(1, 8),
    failures=st.integers(1, RUNGS),
)


any_schedule = given(
    schedule=st.lists(arrivals, max_size=25),
    rows_per_step=st.sampled_from([1, 2, 8]),
    coded_together=st.sampled_from([1, 4]),
)


@settings(max_examples=250, deadline=None)
@any_schedule
def test_no_schedule_starves_a_row_or_loses_one_or_tells_a_step_twice(
    schedule: list[Arrival], rows_per_step: int, coded_together: int
) -> None:
    assert_nobody_is_wronged(schedule, rows_per_step, coded_together)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@any_schedule
def test_no_schedule_of_thousands_does(
    schedule: list[Arrival], rows_per_step: int, coded_together: int
) -> None:
    assert_nobody_is_wronged(schedule, rows_per_step, coded_together)


def assert_nobody_is_wronged(
    schedule: list[Arrival], rows_per_step: int, coded_together: int
) -> None:
    world = World(schedule)
    with instant_engine(world, rows_per_step, coded_together) as engine:
        while world.admit(engine, at_least=1):
            for told in world.told[: sum(t.came >= 0 for t in world.told)]:
                told.future.exception(timeout=20)
        for told in world.told:
            told.future.exception(timeout=20)  # none is lost
        # The preview of a job that has failed may still be on its way.
        wait_until(lambda: engine._rows == [], description="nobody is left")
    assert world.complaints == []
    for told in world.told:
        assert_ended_as_it_should(told)
        assert told.left - told.came <= longest_wait(told, world, rows_per_step)


def assert_ended_as_it_should(told: Told) -> None:
    arrival, error = told.arrival, told.future.exception()
    is_reached = arrival.at <= arrival.steps
    ends = {"canceled": JobCanceled, "lost": LeaseLost, "breaks": Broken}
    if arrival.fate in ends and is_reached:
        assert isinstance(error, ends[arrival.fate])
        last = arrival.at - (arrival.fate == "breaks")
    elif arrival.fate == "does not fit at first" and isinstance(error, OutOfMemory):
        last = arrival.at - 1  # in company of others of its kind all rungs were used up
    else:
        assert error is None
        last = arrival.steps
    assert error is not None or told.future.result().pixels.shape[0] == arrival.side
    assert told.steps == list(range(1, last + 1))
    assert told.stages == STAGES[: len(told.stages)]
    assert error is not None or told.stages == STAGES
    previews = sum(isinstance(event, PreviewReady) for event in told.events)
    assert previews == (1 if arrival.preview and error is None else previews) <= 1


def longest_wait(told: Told, world: World, rows_per_step: int) -> int:
    """Units of those that may go first, and a full company's comings and goings at each own one.

    Units are counted twice where a company is tried again row by row.
    """
    ahead = [
        other for other in world.told if other.came <= told.came + ADVANTAGE[told.arrival.urgency]
    ]
    units = sum((1 + other.arrival.preview) * (other.arrival.steps + 3) for other in ahead)
    own = (told.arrival.steps + 3) * (2 * rows_per_step + 1)
    previews = sum(other.arrival.preview * (other.arrival.steps + 3) for other in world.told)
    # Tried again at every rung, at last row by row.
    climbs = sum(other.arrival.failures + rows_per_step for other in world.told)
    return 2 * (units + own + previews) + climbs


@pytest.mark.parametrize("rows_per_step", [1, 2, 8])
@pytest.mark.parametrize("urgency", [Urgency.INTERACTIVE, Urgency.BATCH])
def test_a_stream_that_is_more_than_the_engine_can_do_starves_no_row_before_it(
    urgency: Urgency, rows_per_step: int
) -> None:
    # Given a row, and after it more newer ones than can be done, which it shares no step with
    calm = Arrival(1, urgency, steps=4, side=32, preview=False, fate="done", at=1)
    newer = Arrival(2, Urgency.INTERACTIVE, steps=2, side=16, preview=False, fate="done", at=1)
    world = World([calm, *[newer] * 60])
    # When all of them are worked off
    with instant_engine(world, rows_per_step) as engine:
        while world.admit(engine, at_least=1):
            world.told[0].future.result(timeout=20)
        for told in world.told:
            told.future.result(timeout=20)
    # Then it has waited for those that came before its age outweighed their priority, and no longer
    advantage = ADVANTAGE[urgency] - ADVANTAGE[Urgency.INTERACTIVE]
    assert world.told[0].left <= 2 * advantage + 30
