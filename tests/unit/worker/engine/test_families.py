"""A row alone is what diffusers' own pipeline makes, latent by latent, in every family."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.checkpoints import make_sd15, make_sd21, make_sdxl
from tests.support.engine_jobs import CPU, make_job, run_all, start_engine
from worker.engine.interface import EngineJob
from worker.engine.loading import load_base
from worker.engine.step_engine import StepEngine

TINY = Path(__file__).parents[4] / "models" / "tiny"

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "tiny": lambda _: TINY,
    "sd15": make_sd15,
    "sd21": make_sd21,
    "sdxl": make_sdxl,
}
# The ends of both ranges, both sides of diffusers' switch at 15 steps, and a product that floats
# make smaller than it is.
SETTINGS = [(0.05, 1), (0.05, 50), (0.4, 10), (0.29, 14), (0.33, 15), (1.0, 1), (1.0, 50)]


@dataclass(frozen=True)
class Pair:
    """One checkpoint twice: in the engine, and in diffusers' pipeline."""

    engine: StepEngine
    pipeline: Any
    prediction: str


@pytest.fixture(scope="module", params=FAMILIES)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = FAMILIES[request.param](tmp_path_factory.mktemp(request.param))
    engine = start_engine(folder)
    pipeline = load_base(str(folder), CPU).pipeline
    assert engine.base == request.param
    yield Pair(engine, pipeline, pipeline.scheduler.config.prediction_type)
    engine.close()


@pytest.mark.parametrize(("strength", "steps"), SETTINGS)
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_the_latents_are_those_of_the_pipeline_alone(
    pair: Pair, strength: float, steps: int, guidance_scale: float
) -> None:
    job = make_job(
        seed=steps,
        strength=strength,
        steps=steps,
        guidance_scale=guidance_scale,
        negative_prompt="blurry",
    )
    torch.testing.assert_close(
        through_the_engine(pair.engine, job), by_diffusers(pair.pipeline, job), atol=1e-3, rtol=0
    )


def test_velocity_is_among_what_was_compared(pair: Pair) -> None:
    assert (pair.prediction == "v_prediction") == (pair.engine.base == "sd21")


def through_the_engine(engine: StepEngine, job: EngineJob) -> torch.Tensor:
    codec, seen = engine._units.codec, list[torch.Tensor]()
    decode = codec.decode

    def overheard(latents: torch.Tensor) -> torch.Tensor:
        seen.append(latents)
        return decode(latents)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "decode", overheard)
        run_all(engine, [job])
    return seen[0]


def by_diffusers(pipeline: Any, job: EngineJob) -> torch.Tensor:
    with torch.inference_mode():
        latents: torch.Tensor = pipeline(
            prompt=job.prompt,
            negative_prompt=job.negative_prompt,
            image=torch.from_numpy(job.pixels).permute(2, 0, 1)[None] / 255,
            # diffusers runs no step at all where int(steps * strength) is 0; the engine runs one.
            strength=max(job.strength, min(1.0, 1 / job.steps + 1e-9)),
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(job.seed),
            output_type="latent",
        ).images
    return latents
