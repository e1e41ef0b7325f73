"""A row alone is what diffusers' own pipeline makes, latent by latent, in every family."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict

from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from tests.support.checkpoints import make_sd15, make_sd21, make_sdxl
from tests.support.engine_jobs import (
    CPU,
    batch_sizes,
    by_pipeline,
    make_job,
    make_lora,
    psnr,
    run_all,
    start_engine,
)
from worker.engine.base.base_loading import load_base
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import EngineJob, Pixels
from worker.engine.step.rows import Row
from worker.engine.step.step_engine import StepEngine

TINY = Path(__file__).parents[4] / "models" / "tiny"

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "tiny": lambda _: TINY,
    "sd15": make_sd15,
    "sd21": make_sd21,
    "sdxl": make_sdxl,
}
# The ends of both ranges, both sides of diffusers' switch at 15 steps, and a product that floats
# make smaller than it is.
SETTINGS = [(0.05, 50), (0.4, 10), (0.29, 14), (0.33, 15), (1.0, 1), (1.0, 50)]


@dataclass(frozen=True)
class Pair:
    """One checkpoint twice: in the engine, and in diffusers' pipeline."""

    folder: Path
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
    yield Pair(folder, engine, pipeline, pipeline.scheduler.config.prediction_type)
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


def test_eight_mixed_rows_with_four_loras_are_what_each_is_alone_and_what_peft_makes(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given four LoRAs of two ranks, and eight rows: two LoRAs on some, none on one
    a, b, c, d = (
        make_lora(tmp_path, pair.folder, f"lora{seed}", rank=rank, alpha=4, seed=seed)
        for seed, rank in enumerate((2, 8, 2, 8))
    )
    # The embedded base has attention in its middle alone: only much of it is seen in 8 bits.
    by = 1e4 if pair.engine.base == "tiny" else 1.0
    jobs = [
        make_job(1, loras=((a, by),)),
        make_job(2, loras=((b, 0.7 * by),), guidance_scale=4.0, negative_prompt="blurry"),
        make_job(3, loras=((c, -0.5 * by),), strength=0.9, steps=7),
        make_job(4, loras=((d, 1.5 * by),), strength=1.0, steps=20),
        make_job(5, loras=((a, 0.6 * by), (d, 0.4 * by)), prompt="a cat"),
        make_job(6, loras=((b, by), (c, by)), guidance_scale=2.0),
        make_job(7),
        make_job(8, loras=((a, -by),), strength=0.15),
    ]
    alone = [run_all(pair.engine, [job])[0].pixels for job in jobs]
    peft = DiffusersEngine(load_base(str(pair.folder), CPU), lora_slots=4)
    by_peft = [result.pixels for result in run_all(peft, jobs)]
    peft.close()
    # When they run together
    sizes = batch_sizes(pair.engine, monkeypatch)
    together = run_all(pair.engine, jobs)
    # Then all eight share steps, and each is its own picture
    assert max(sizes) == 8
    for index, result in enumerate(together):
        assert psnr(result.pixels, alone[index]) >= 45
        assert psnr(result.pixels, by_peft[index]) >= 45
    assert not np.array_equal(together[0].pixels, run_all(pair.engine, [make_job(1)])[0].pixels)


def test_out_of_memory_degrades_a_picture_of_every_family_and_breaks_none(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, decode, left = make_job(1), pair.engine._units.decode, [3]
    expected = run_all(pair.engine, [job])[0].pixels

    def starved(rows: list[Row]) -> list[Pixels]:
        if left[0] > 0:
            left[0] -= 1
            raise torch.OutOfMemoryError("injected")
        return decode(rows)

    monkeypatch.setattr(pair.engine._units, "decode", starved)
    result = run_all(pair.engine, [job])[0]
    assert result.degraded
    assert result.pixels.shape == expected.shape
    np.testing.assert_array_equal(run_all(pair.engine, [job])[0].pixels, expected)


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
    latents: torch.Tensor = by_pipeline(pipeline, job, output_type="latent")
    return latents


def test_a_lora_in_both_text_encoders_of_sdxl_is_applied_as_peft_applies_it(tmp_path: Path) -> None:
    folder = make_sdxl(tmp_path / "sdxl")
    lora = make_sdxl_lora(folder, tmp_path)
    job = make_job(loras=((lora, 0.8),), guidance_scale=3.0)
    engine, peft = start_engine(folder), DiffusersEngine(load_base(str(folder), CPU), lora_slots=1)
    ours, theirs, none = (
        run_all(one, [each])[0].pixels
        for one, each in ((engine, job), (peft, job), (engine, make_job(guidance_scale=3.0)))
    )
    engine.close()
    peft.close()
    assert psnr(ours, theirs) >= 50
    assert psnr(ours, none) < 50


def make_sdxl_lora(folder: Path, into: Path) -> LoraEntry:
    """Random weights for the UNet and both text encoders, written by diffusers and PEFT."""
    torch.manual_seed(1)
    pipeline: Any = load_base(str(folder), CPU).pipeline
    layers: dict[str, Any] = {}
    for part, targets in (
        ("unet", ["to_q", "to_v"]),
        ("text_encoder", ["q_proj", "v_proj"]),
        ("text_encoder_2", ["q_proj", "v_proj"]),
    ):
        module = getattr(pipeline, part)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
        module.add_adapter(config)
        layers[f"{part}_lora_layers"] = get_peft_model_state_dict(
            module, save_embedding_layers=False
        )
        layers[f"{part}_lora_adapter_metadata"] = config.to_dict()
    type(pipeline).save_lora_weights(str(into), weight_name="words.safetensors", **layers)
    return check_file(into / "words.safetensors")
