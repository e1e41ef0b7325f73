"""The device runs out of memory at any operator: no other job is harmed, the next starts clean."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import OutOfMemory
from tests.support.engine_jobs import Loras, make_job, psnr, run_all, start_engine
from tests.support.failing_device import Device
from worker.engine.interface import EngineJob
from worker.engine.step.rows import Row
from worker.engine.step.step_engine import StepEngine

# Operators that fail, one after the other.
POINTS = [8, pytest.param(100, marks=pytest.mark.slow)]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture(params=[1, 8], ids=["one row a step", "eight rows a step"])
def engine(request: pytest.FixtureRequest, folder: Path, device: Device) -> Iterator[StepEngine]:
    running = start_engine(folder, rows_per_step=request.param)
    work = running._work

    def on_the_device(row: Row) -> None:
        with device:
            work(row)

    running._work = on_the_device  # type: ignore[method-assign]
    yield running
    running.close()


def forget(engine: StepEngine) -> None:
    """Everything is to be read, encoded and merged anew, so that each operator has its turn."""
    engine.forget_loras()
    engine._units.codec.forget()
    engine._units.prompts._kept.clear()
    with torch.inference_mode():
        for key in list(engine._units._slots._ranges):
            engine._units._slots._forget(key)


def make_jobs(loras: Loras) -> list[EngineJob]:
    return [
        make_job(1, loras=((loras.narrow, 1.0),), guidance_scale=2.0),
        make_job(2, loras=((loras.conv, 0.5),)),
        make_job(3),
    ]


@pytest.mark.parametrize("points", POINTS)
def test_once_at_any_operator_costs_no_picture_and_is_forgotten(
    engine: StepEngine, device: Device, loras: Loras, points: int
) -> None:
    # Given what each job is alone, and how many operators all of them take
    jobs = make_jobs(loras)
    expected = [run_all(engine, [job])[0].pixels for job in jobs]
    forget(engine)
    device.fail(0, 0)
    run_all(engine, jobs)
    operators = device.count
    for at in random.Random(1).sample(range(1, operators), points):
        # When one of the operators finds no memory
        forget(engine)
        device.fail(at, 1)
        results = run_all(engine, jobs)
        # Then every picture is right, and the next job is clean
        for result, pixels in zip(results, expected, strict=True):
            assert psnr(result.pixels, pixels) >= 45, at
        # (who steps in company depends on arrival, so it may take fewer operators than counted)
        device.fail(0, 0)
        after = run_all(engine, [jobs[at % 3]])[0]
        assert after.degraded == ()
        np.testing.assert_array_equal(after.pixels, expected[at % 3])


def test_without_end_fails_what_is_in_flight_and_nothing_after_it(
    engine: StepEngine, device: Device, loras: Loras
) -> None:
    jobs = make_jobs(loras)
    expected = [run_all(engine, [job])[0].pixels for job in jobs]
    for at in (1, 50, 400, 1500):
        forget(engine)
        device.fail(at, 10**9)
        for future in [engine.submit(job, lambda _: None) for job in jobs]:
            assert isinstance(future.exception(timeout=60), OutOfMemory | None)
        device.fail(0, 0)
        for job, pixels in zip(jobs, expected, strict=True):
            np.testing.assert_array_equal(run_all(engine, [job])[0].pixels, pixels)
        assert engine._rows == []
        assert_nothing_is_held(engine)


def test_a_row_that_never_fits_fails_alone(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job whose steps never find memory, in company or not
    good, doomed = make_job(1, steps=30, strength=1.0), make_job(13)
    expected = run_all(engine, [good])[0].pixels
    step = engine._units.step

    def starved(rows: list[Row]) -> None:
        if any(row.job.seed == 13 for row in rows):
            raise torch.OutOfMemoryError("injected")
        step(rows)

    monkeypatch.setattr(engine._units, "step", starved)
    # When it comes while another is on its way
    running = threading.Event()
    first = engine.submit(good, lambda _: running.set())
    assert running.wait(30)
    second = engine.submit(doomed, lambda _: None)
    # Then it alone fails
    assert isinstance(second.exception(timeout=60), OutOfMemory)
    assert psnr(first.result(timeout=60).pixels, expected) >= 45


def assert_nothing_is_held(engine: StepEngine) -> None:
    assert all(span.pins == 0 for span in engine._units._slots._ranges.values())
    engine.forget_loras()
    assert engine.adapters.keys() == []
