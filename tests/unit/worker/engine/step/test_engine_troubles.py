"""What goes wrong in the step engine, and who must not notice."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import LeaseLost
from shared.jobs import Stage
from tests.support.engine_jobs import Loras, make_job, run_all, start_engine
from worker.engine.base.device_lost import DeviceLost
from worker.engine.interface import (
    Engine,
    EngineEvent,
    EngineResult,
    StageStarted,
    StepDone,
    Urgency,
)
from worker.engine.step import step_engine
from worker.engine.step.rows import Row
from worker.engine.step.step_engine import StepEngine
from worker.engine.testing.fake import FakeEngine


def before_units(
    engine: StepEngine,
    monkeypatch: pytest.MonkeyPatch,
    unit: str,
    look: Callable[[list[Row]], None],
) -> None:
    """Have `look` see the rows of every such unit before it is done, and raise if it likes."""
    original: Callable[..., object] = getattr(engine._units, unit)

    def work(rows: list[Row]) -> object:
        look(rows)
        return original(rows)

    monkeypatch.setattr(engine._units, unit, work)


def test_a_company_that_does_not_fit_is_tried_once_and_steps_in_halves_from_then_on(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a device that holds four rows, and eight of them
    tried: list[int] = []

    def four_at_most(rows: list[Row]) -> None:
        tried.append(len(rows))
        if len(rows) > 4:
            raise torch.OutOfMemoryError("injected")

    before_units(engine, monkeypatch, "step", four_at_most)
    # When they run
    results = run_all(engine, [make_job(seed, steps=8, strength=1.0) for seed in range(8)])
    # Then what is too many has been tried for one step alone, and nobody's picture is the worse
    assert sum(size > 4 for size in tried) <= 4
    assert max(tried) == 8
    given_up = {code for result in results for code in result.degraded}
    assert given_up <= {"smaller_batch", "adapters_evicted"}
    assert "smaller_batch" in given_up


def test_a_row_that_does_not_fit_makes_nobody_elses_picture_worse(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one that has to climb higher than the rest of its company
    left = [3]

    def starved(rows: list[Row]) -> None:
        if any(row.job.seed == 13 for row in rows) and (len(rows) > 1 or left[0] > 0):
            left[0] -= len(rows) == 1
            raise torch.OutOfMemoryError("injected")

    jobs = [make_job(seed, steps=9, strength=1.0) for seed in (1, 13, 2)]
    before_units(engine, monkeypatch, "step", starved)
    first, doomed, last = run_all(engine, jobs)
    assert "vae_tiling" in doomed.degraded
    for result in (first, last):
        assert not {"vae_tiling", "model_offload", "smaller_side"} & set(result.degraded)


def test_what_is_done_again_in_a_smaller_size_is_told_once(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a picture that turns out too large when it is decoded
    def too_large(rows: list[Row]) -> None:
        if rows[0].pixels.shape[0] > 200:
            raise torch.OutOfMemoryError("injected")

    before_units(engine, monkeypatch, "decode", too_large)
    large = np.random.default_rng(0).integers(0, 256, (256, 192, 3), dtype=np.uint8)
    events: list[EngineEvent] = []
    # When it is made
    result = engine.submit(make_job(pixels=large), events.append).result(timeout=60)
    # Then it has its size again and says so, and its owner has seen one way there
    assert (result.pixels.shape, "smaller_side" in result.degraded) == (large.shape, True)
    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages == [Stage.LOADING, Stage.ENCODING, Stage.DENOISING, Stage.DECODING]
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4]


@pytest.mark.parametrize("part", ["_next_row", "_drop_stopped", "_check_weights"])
def test_an_engine_that_breaks_says_so_and_leaves_nobody_waiting(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    run_all(engine, [make_job()])

    def broken() -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(engine._guard, "is_due", lambda idle: not idle)
    monkeypatch.setattr(engine, part, broken)
    futures = [engine.submit(make_job(seed, steps=50), lambda _: None) for seed in (1, 2)]
    for future in futures:
        future.exception(timeout=60)
    assert isinstance(engine.complaint(), DeviceLost)
    monkeypatch.undo()
    # It is not to be trusted any more, whatever it could still do
    with pytest.raises(DeviceLost, match="a mistake of ours"):
        engine.submit(make_job(), lambda _: None).result(timeout=60)


@pytest.mark.parametrize("kind", ["step", "fake"])
def test_a_job_that_comes_after_the_end_is_refused_at_once(kind: str, folder: Path) -> None:
    engine: Engine = start_engine(folder) if kind == "step" else FakeEngine("tiny", 0.0)
    engine.close()
    with pytest.raises(LeaseLost):
        engine.submit(make_job(), lambda _: None).result(timeout=5)


def test_a_job_without_a_lora_or_with_one_in_memory_waits_for_no_other_jobs_file(
    engine: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a LoRA in memory, and another whose file takes its time
    run_all(engine, [make_job(loras=((loras.narrow, 1.0),))])
    goes_on, read = threading.Event(), step_engine.read_adapter  # type: ignore[attr-defined]

    def slowly(*arguments: object) -> object:
        assert goes_on.wait(30)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(step_engine, "read_adapter", slowly)
    waiting = engine.submit(make_job(1, loras=((loras.wide, 1.0),)), lambda _: None)
    # When others come
    run_all(engine, [make_job(2), make_job(3, loras=((loras.narrow, 1.0),))])
    # Then they are done before it is read
    assert not waiting.done()
    goes_on.set()
    waiting.result(timeout=60)


def test_a_jobs_first_preview_takes_a_step_and_no_guidance_however_many_the_job_has(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped: list[tuple[Urgency, int]] = []

    def note(rows: list[Row]) -> None:
        stepped.extend((row.urgency, row.condition.evaluations) for row in rows if row.condition)

    before_units(engine, monkeypatch, "step", note)
    job = make_job(preview=True, steps=50, strength=1.0, guidance_scale=5.0)
    run_all(engine, [job])
    assert [each for each in stepped if each[0] is Urgency.PREVIEW] == [(Urgency.PREVIEW, 1)]
    assert len(stepped) == 51


def test_time_that_a_preview_takes_in_the_middle_of_a_unit_is_not_the_jobs(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a preview that takes a second, and a job that it interrupts while that decodes
    previews = []

    def slow(rows: list[Row]) -> None:
        if rows[0].urgency is Urgency.PREVIEW:
            threading.Event().wait(1.0)

    before_units(engine, monkeypatch, "encode", slow)

    def on_event(event: EngineEvent) -> None:
        if event == StageStarted(Stage.DECODING):
            previews.append(engine.submit(make_job(2, urgency=Urgency.PREVIEW), lambda _: None))

    started = time.monotonic()
    result = engine.submit(make_job(1), on_event).result(timeout=60)
    elapsed = time.monotonic() - started
    previews[0].result(timeout=60)
    assert sum(result.seconds.values()) < elapsed - 0.9


@pytest.mark.parametrize(
    ("turn_seconds", "before"), [(0.0, 8), (float("inf"), 4)], ids=["long unit", "short unit"]
)
def test_only_the_rest_of_a_short_unit_is_waited_for_by_a_stream_of_previews(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch, turn_seconds: float, before: int
) -> None:
    # Given eight previews that come when the last unit of a job begins
    monkeypatch.setattr(step_engine, "TURN_SECONDS", turn_seconds)
    ended, previews = list[str](), list[Future[EngineResult]]()

    def on_event(event: EngineEvent) -> None:
        if event != StageStarted(Stage.DECODING):
            return
        for seed in range(8):
            small = make_job(10 + seed, urgency=Urgency.PREVIEW, steps=1, strength=0.05)
            previews.append(engine.submit(small, lambda _: None))
            previews[-1].add_done_callback(lambda _: ended.append("preview"))

    job = engine.submit(make_job(1), on_event)
    job.add_done_callback(lambda _: ended.append("job"))
    # Then those that have had their turn wait for the job's, which is a part of a long unit
    job.result(timeout=60)
    for preview in previews:
        preview.result(timeout=60)
    assert ended.index("job") == before


def test_one_lora_under_two_names_counts_twice(engine: StepEngine, loras: Loras) -> None:
    twice = make_job(loras=((loras.narrow, 0.5), (loras.narrow, 0.5)))
    once = make_job(loras=((loras.narrow, 1.0),))
    results = [run_all(engine, [job])[0].pixels for job in (twice, once)]
    np.testing.assert_array_equal(results[0], results[1])
