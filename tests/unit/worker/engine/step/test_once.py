"""One-step restoration: the picture read off one prediction, beside the formula written out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from tests.support.checkpoints import make_sd21
from tests.support.engine_jobs import (
    CPU,
    Loras,
    batch_sizes,
    make_job,
    psnr,
    run_all,
    start_engine,
)
from worker.engine.base.base_loading import load_base
from worker.engine.base.tile_size import TileSize
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import EngineEvent, EngineJob, Pixels, StepDone
from worker.engine.step.step_engine import StepEngine


@pytest.fixture(scope="module", params=["noise", "velocity"])
def base(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: Any) -> tuple[Path, Any]:
    """A base's folder and a bare pipeline of it, for both that a network can predict."""
    where = folder
    if request.param == "velocity":
        where = make_sd21(tmp_path_factory.mktemp("once") / "sd21")
    return where, load_base(str(where), CPU).pipeline


@torch.inference_mode()
def by_hand(pipeline: Any, job: EngineJob) -> Pixels:
    """Encode, one prediction at the timestep, solve for the clean latents, decode."""
    picture = torch.from_numpy(job.pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    generator = torch.Generator().manual_seed(job.seed)
    posterior = pipeline.vae.encode(picture).latent_dist
    noise = randn_tensor(posterior.mean.shape, generator=generator)
    z = (posterior.mean + posterior.std * noise) * pipeline.vae.config.scaling_factor
    words = pipeline.encode_prompt(job.prompt, CPU, 1, False)[0]
    out = pipeline.unet(z, job.timestep, encoder_hidden_states=words, return_dict=False)[0]
    signal = pipeline.scheduler.alphas_cumprod[job.timestep]
    if pipeline.scheduler.config.prediction_type == "v_prediction":
        clean = signal.sqrt() * z - (1 - signal).sqrt() * out
    else:
        clean = (z - (1 - signal).sqrt() * out) / signal.sqrt()
    clean = z + job.strength * (clean - z)
    decoded = pipeline.vae.decode(clean / pipeline.vae.config.scaling_factor).sample
    levels = (decoded[0].clamp(-1, 1) + 1) * 127.5
    return levels.permute(1, 2, 0).round().to(torch.uint8).numpy()


@pytest.mark.parametrize(("timestep", "strength"), [(200, 1.0), (999, 1.0), (200, 0.35)])
def test_one_step_is_the_formula_to_a_grey_level(
    base: tuple[Path, Any], timestep: int, strength: float
) -> None:
    where, pipeline = base
    job = make_job(sampler="once", timestep=timestep, strength=strength, steps=1)
    engine, diffusers = start_engine(where), DiffusersEngine(load_base(str(where), CPU), 0)
    expected = by_hand(pipeline, job).astype(int)
    for each in (engine, diffusers):
        made = run_all(each, [job])[0].pixels
        each.close()
        assert np.abs(made - expected).max() <= 1


def test_it_shares_steps_with_ordinary_jobs_and_nobody_can_tell(
    engine: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        make_job(1),
        make_job(2, sampler="once"),
        make_job(3, sampler="once", timestep=700, strength=0.5, loras=((loras.narrow, 1.0),)),
        make_job(4, sampler="lcm", steps=4, strength=1.0),
    ]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    sizes = batch_sizes(engine, monkeypatch)
    together = run_all(engine, jobs)
    assert max(sizes) == 4
    for result, expected in zip(together, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45


def test_without_any_change_the_photo_comes_back_as_the_autoencoder_sees_it(
    engine: StepEngine,
) -> None:
    low, high = (make_job(sampler="once", strength=strength) for strength in (1e-9, 1.0))
    unchanged, changed = (result.pixels for result in run_all(engine, [low, high]))
    pipeline = engine._pipeline
    kept = by_hand(pipeline, replace(low, strength=0.0))
    assert np.abs(unchanged.astype(int) - kept).max() <= 1
    assert not np.array_equal(unchanged, changed)


def test_progress_counts_one_step_whatever_the_job_says_of_steps(engine: StepEngine) -> None:
    wide = np.random.default_rng(8).integers(0, 256, (48, 112, 3), dtype=np.uint8)
    for size, pixels in ((engine._limits.tile_size, wide[:, :48]), (TileSize(48, 16, 32), wide)):
        engine._limits = replace(engine._limits, tile_size=size)
        events: list[EngineEvent] = []
        job = make_job(pixels=pixels, sampler="once", steps=10, strength=0.4, preview=True)
        engine.submit(job, events.append).result(timeout=60)
        assert [event for event in events if isinstance(event, StepDone)] == [StepDone(1, 1)]
