"""Families that the step engine does not know: through diffusers, with the same interface."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from shared.errors import JobCanceled
from shared.jobs import Stage
from shared.loras.check import check_file
from shared.settings import Settings
from tests.support.engine_jobs import CPU, by_pipeline, make_job, psnr, run_all
from tests.support.one_step_files import tsd_sr
from tests.support.transformer_checkpoints import make_flux, make_sd3, make_transformer_lora
from worker.engine.base.base_loading import load_base
from worker.engine.base.tile_size import TileSize
from worker.engine.engine_choice import warm_engine
from worker.engine.interface import (
    Engine,
    EngineEvent,
    EngineJob,
    Pixels,
    PreviewReady,
    StageStarted,
    StepDone,
)

FAMILIES: dict[str, Callable[[Path], Path]] = {"sd3": make_sd3, "flux": make_flux}

# Neither a multiple of a latent's cell nor of a family's own size.
ODD = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


class Started(NamedTuple):
    engine: Engine
    folder: Path


@pytest.fixture(scope="module", params=FAMILIES)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    folder = FAMILIES[request.param](tmp_path_factory.mktemp(request.param))
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    engine = warm_engine(load_base(str(folder), CPU), settings)
    assert engine.base == request.param
    yield Started(engine, folder)
    engine.close()


def test_every_stage_and_step_is_told_and_the_size_is_the_sources(started: Started) -> None:
    events: list[EngineEvent] = []
    job = make_job(pixels=ODD, preview=True)
    result = started.engine.submit(job, events.append).result(timeout=60)
    assert result.pixels.shape == ODD.shape
    assert [event for event in events if not isinstance(event, PreviewReady)] == [
        StageStarted(Stage.LOADING),
        StageStarted(Stage.ENCODING),
        StageStarted(Stage.DENOISING),
        *(StepDone(step, 4) for step in range(1, 5)),
        StageStarted(Stage.DECODING),
    ]
    assert sum(isinstance(event, PreviewReady) for event in events) == 1


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_the_whole_picture_is_what_the_pipeline_makes_of_it_in_its_size(
    started: Started, guidance_scale: float
) -> None:
    job = make_job(pixels=ODD, guidance_scale=guidance_scale, negative_prompt="blurry")
    result = run_all(started.engine, [job])[0]
    assert psnr(result.pixels, alone(started.folder, job)) > 50


def test_a_canceled_job_stops_at_its_next_step(started: Started) -> None:
    job, steps = make_job(steps=50, strength=1.0), list[int]()

    def on_event(event: EngineEvent) -> None:
        if isinstance(event, StepDone):
            steps.append(event.step)
            job.stop.cancel()

    with pytest.raises(JobCanceled):
        started.engine.submit(job, on_event).result(timeout=60)
    assert steps == [1]


def test_a_lora_changes_the_picture_and_leaves_no_trace(started: Started, tmp_path: Path) -> None:
    lora = make_transformer_lora(started.folder, tmp_path)
    none = run_all(started.engine, [make_job()])[0].pixels
    changed = run_all(started.engine, [make_job(loras=((lora, 1.0),))])[0].pixels
    np.testing.assert_array_equal(run_all(started.engine, [make_job()])[0].pixels, none)
    assert not np.array_equal(changed, none)


def alone(folder: Path, job: EngineJob) -> Pixels:
    """What diffusers' own pipeline makes of a job, its edges repeated up to whole cells."""
    height, width = job.pixels.shape[:2]
    edges = ((0, -height % 16), (0, -width % 16), (0, 0))
    padded = replace(job, pixels=np.pad(job.pixels, edges, mode="edge"))
    size = dict(zip(("height", "width"), padded.pixels.shape[:2], strict=True))
    pipeline = load_base(str(folder), CPU).pipeline
    image = by_pipeline(pipeline, padded, output_type="np", **size)[0]
    return np.asarray((image[:height, :width] * 255).round().astype(np.uint8))


def test_a_picture_too_large_for_a_family_without_tiles_keeps_its_size_and_says_so(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "worker.engine.diffusers_engine.choose_tile_size",
        lambda *_, **__: TileSize(side=32, overlap=16, least=16),
    )
    result = run_all(started.engine, [make_job(pixels=ODD)])[0]
    assert result.pixels.shape == ODD.shape
    assert result.degraded[-1] == "smaller_side"


def test_a_one_step_restorer_on_sd3_is_refused_by_its_name(tmp_path: Path) -> None:
    # Given TSD-SR's two files, which look like a LoRA of a base that is served
    pipeline: Any = load_base(str(make_sd3(tmp_path / "sd3")), CPU).pipeline
    files = tsd_sr(tmp_path, pipeline.transformer, pipeline.vae)
    renamed = make_transformer_lora(tmp_path / "sd3", tmp_path).path
    # Then each of them is known, also by its name alone, and no other LoRA is
    for path in (*files, renamed.rename(tmp_path / "tsdsr-mse.safetensors")):
        entry = check_file(path)
        assert (entry.state, entry.reason_code) == ("incompatible", "unserved_restorer"), path
        assert "TSD-SR" in (entry.reason or "")
        assert "SD 3" in (entry.reason or "")
    other = make_transformer_lora(tmp_path / "sd3", tmp_path)
    assert other.reason_code != "unserved_restorer"
