"""What every engine must do, on small checkpoints of the real classes."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import JobCanceled, LoraChanged, LoraCorrupt
from shared.jobs import Stage
from tests.support.checkpoints import make_sd15, make_sdxl
from tests.support.engine_jobs import CPU, by_pipeline, make_lora, psnr
from worker.engine.base.base_loading import load_base
from worker.engine.base.profiles import choose_limits
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import (
    Engine,
    EngineEvent,
    EngineJob,
    EngineResult,
    Pixels,
    PreviewReady,
    StageStarted,
    StepDone,
)
from worker.engine.step.step_engine import StepEngine


def start(kind: str, folder: Path) -> Engine:
    loaded = load_base(str(folder), CPU)
    if kind == "diffusers":
        return DiffusersEngine(loaded, lora_slots=2)
    return StepEngine(loaded, choose_limits(loaded))


@pytest.fixture(scope="module", params=["diffusers", "step"])
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    running = start(request.param, folder)
    yield running
    running.close()


def make_job(width: int = 64, height: int = 64, **changes: object) -> EngineJob:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    job = EngineJob(pixels, "sharp photo", "", 0.4, 10, 1.0, seed=3, preview=False)
    return replace(job, **changes)  # type: ignore[arg-type]


def run(engine: Engine, job: EngineJob) -> tuple[EngineResult, list[EngineEvent]]:
    events: list[EngineEvent] = []
    return engine.submit(job, events.append).result(timeout=60), events


def test_a_job_tells_every_stage_and_step_in_order(engine: Engine) -> None:
    result, events = run(engine, make_job(preview=True))
    told = [event for event in events if not isinstance(event, PreviewReady)]
    assert told == [
        StageStarted(Stage.LOADING),
        StageStarted(Stage.ENCODING),
        StageStarted(Stage.DENOISING),
        *(StepDone(step, 4) for step in range(1, 5)),
        StageStarted(Stage.DECODING),
    ]
    assert {"loading", "preview", "encoding", "denoising", "decoding"} <= set(result.seconds)


def test_the_preview_comes_before_the_first_step_and_is_small(engine: Engine) -> None:
    _, events = run(engine, make_job(200, 120, preview=True))
    kinds = [type(event) for event in events]
    assert kinds.index(PreviewReady) < kinds.index(StepDone)
    preview = next(event for event in events if isinstance(event, PreviewReady))
    assert preview.pixels.shape == (77, 128, 3)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (50, 37), (17, 90)])
def test_the_result_has_exactly_the_size_of_its_source(
    engine: Engine, width: int, height: int
) -> None:
    result, _ = run(engine, make_job(width, height))
    assert result.pixels.shape == (height, width, 3)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(
    engine: Engine,
) -> None:
    first, again = run(engine, make_job())[0], run(engine, make_job())[0]
    other, _ = run(engine, make_job(seed=4))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_grey_photo_stays_grey_and_a_coloured_one_does_not(engine: Engine) -> None:
    coloured = make_job(50, 37, prompt="red")
    grey = replace(coloured, pixels=np.repeat(coloured.pixels[..., :1], 3, axis=2))
    made, plain = (run(engine, job)[0].pixels for job in (grey, coloured))
    assert (made == made[..., :1]).all()
    assert not np.array_equal(made, grey.pixels)
    assert not (plain == plain[..., :1]).all()


def test_the_engine_gives_what_the_pipeline_alone_gives(engine: Engine, folder: Path) -> None:
    job = make_job(guidance_scale=3.0, negative_prompt="blurry")
    result, _ = run(engine, job)
    assert np.abs(result.pixels.astype(int) - alone(folder, job)).max() <= 1


@pytest.mark.parametrize(
    ("strength", "steps", "executed"), [(0.05, 1, 1), (0.05, 10, 1), (1, 3, 3)]
)
def test_at_least_one_step_runs(engine: Engine, strength: float, steps: int, executed: int) -> None:
    _, events = run(engine, make_job(strength=strength, steps=steps))
    assert sum(isinstance(event, StepDone) for event in events) == executed


def test_a_canceled_job_stops_at_the_next_step_and_the_next_job_is_untouched(
    engine: Engine,
) -> None:
    expected, _ = run(engine, make_job())
    job, seen = make_job(steps=50, strength=1.0), threading.Event()
    steps: list[EngineEvent] = []

    def on_event(event: EngineEvent) -> None:
        if isinstance(event, StepDone):
            steps.append(event)
            job.stop.cancel()
            seen.set()

    future = engine.submit(job, on_event)
    with pytest.raises(JobCanceled):
        future.result(timeout=60)
    assert len(steps) == 1
    np.testing.assert_array_equal(run(engine, make_job())[0].pixels, expected.pixels)


def test_a_job_that_was_canceled_in_line_never_starts(engine: Engine) -> None:
    job, events = make_job(), list[EngineEvent]()
    job.stop.cancel()
    with pytest.raises(JobCanceled):
        engine.submit(job, events.append).result(timeout=60)
    assert events == []


def test_a_lora_changes_the_picture_and_leaves_no_trace_after_it(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    # Given two LoRAs and what the base makes alone
    one = make_lora(tmp_path, folder, "one", rank=4, alpha=4, seed=1)
    two = make_lora(tmp_path, folder, "two", rank=4, alpha=4, seed=2)
    alone, _ = run(engine, make_job())
    with_one, _ = run(engine, make_job(loras=((one, 1.0),)))
    # When the other one, both, and none have had their turn
    run(engine, make_job(loras=((two, 1.0),)))
    both, _ = run(engine, make_job(loras=((one, 0.5), (two, 0.5))))
    # Then each setting gives again exactly what it gave before
    np.testing.assert_array_equal(run(engine, make_job())[0].pixels, alone.pixels)
    again, _ = run(engine, make_job(loras=((one, 1.0),)))
    np.testing.assert_array_equal(again.pixels, with_one.pixels)
    assert not np.array_equal(with_one.pixels, alone.pixels)
    assert not np.array_equal(both.pixels, with_one.pixels)


def test_no_more_adapters_stay_than_there_are_slots(folder: Path, tmp_path: Path) -> None:
    engine = DiffusersEngine(load_base(str(folder), CPU), lora_slots=2)
    entries = [
        make_lora(tmp_path, folder, f"l{seed}", rank=4, alpha=4, seed=seed) for seed in range(3)
    ]
    for entry in entries:
        run(engine, make_job(loras=((entry, 1.0),)))
    assert engine.residency()["loras"] == ["l1", "l2"]
    run(engine, make_job(loras=((entries[1], 1.0),)))
    run(engine, make_job(loras=((entries[0], 1.0),)))
    assert engine.residency()["loras"] == ["l1", "l0"]
    engine.close()


def test_a_lora_replaced_after_its_check_fails_its_job_alone(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    entry = make_lora(tmp_path, folder, "swapped", rank=4, alpha=4, seed=5)
    make_lora(tmp_path, folder, "swapped", rank=4, alpha=4, seed=6)
    with pytest.raises(LoraChanged):
        run(engine, make_job(loras=((entry, 1.0),)))
    entry.path.unlink()
    with pytest.raises(LoraChanged):
        run(engine, make_job(loras=((entry, 1.0),)))
    run(engine, make_job())


def test_a_lora_whose_weights_do_not_fit_fails_its_job_alone(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    fitting = make_lora(tmp_path, folder, "fitting", rank=4, alpha=4, seed=8)
    wider = make_sd15(tmp_path / "sd21", 1024)
    entry = make_lora(tmp_path, wider, "too_wide", rank=4, alpha=4, seed=1)
    alone, _ = run(engine, make_job())
    with pytest.raises(LoraCorrupt):
        run(engine, make_job(loras=((fitting, 1.0), (entry, 1.0))))
    np.testing.assert_array_equal(run(engine, make_job())[0].pixels, alone.pixels)


def test_residual_fidelity_gives_back_what_the_autoencoder_loses(engine: Engine) -> None:
    # A random autoencoder loses nearly everything, so the difference is plain to see.
    job = make_job(strength=0.05, steps=1)
    none, _ = run(engine, job)
    residual, _ = run(engine, replace(job, fidelity="residual"))

    def error(result: EngineResult) -> float:
        return float(np.abs(result.pixels.astype(int) - job.pixels).mean())

    assert error(residual) < error(none) / 2


@pytest.mark.parametrize("kind", ["diffusers", "step"])
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("negative_prompt", ["", "blurry"])
def test_sdxl_gives_what_its_pipeline_alone_gives(
    kind: str, guidance_scale: float, negative_prompt: str, tmp_path: Path
) -> None:
    folder = make_sdxl(tmp_path)
    running = start(kind, folder)
    job = make_job(guidance_scale=guidance_scale, negative_prompt=negative_prompt)
    try:
        result, _ = run(running, job)
    finally:
        running.close()
    assert running.base == "sdxl"
    assert psnr(result.pixels, alone(folder, job)) > 50


def alone(folder: Path, job: EngineJob) -> Pixels:
    """What diffusers' own pipeline makes of a job."""
    pipeline = load_base(str(folder), CPU).pipeline
    image = by_pipeline(pipeline, job, output_type="np")[0]
    return np.asarray((image * 255).round().astype(np.uint8))
