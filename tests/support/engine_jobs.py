"""Jobs and LoRAs for tests of the engines: small, random, written by the real libraries."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from transformers import CLIPTextModel

from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from tests.support.copies import copier
from worker.engine.base.base_loading import load_base
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import EngineLimits
from worker.engine.interface import Engine, EngineJob, EngineResult, Pixels
from worker.engine.step.step_engine import StepEngine

CPU = torch.device("cpu")
MIB = 2**20
LIMITS = EngineLimits("cpu", 8, 64 * MIB, 64 * MIB, 16 * MIB)


class Loras(NamedTuple):
    """LoRAs of several ranks, for attention, convolutions and the text encoder."""

    narrow: LoraEntry
    wide: LoraEntry
    conv: LoraEntry
    text: LoraEntry
    elsewhere: LoraEntry


def start_engine(folder: Path, **limits: object) -> StepEngine:
    """A step engine on the CPU for the checkpoint in `folder`, with other limits if given."""
    return StepEngine(fresh_base(folder), replace(LIMITS, **limits))  # type: ignore[arg-type]


def fresh_base(folder: Path) -> LoadedBase:
    """The checkpoint in `folder` on the CPU. A copy takes a tenth of the time of loading."""
    return _copier(str(folder))()


@cache
def _copier(folder: str) -> Callable[[], LoadedBase]:
    return copier(load_base(folder, CPU))


def make_lora(
    into: Path,
    folder: Path,
    name: str,
    rank: int,
    alpha: int,
    targets: list[str] | None = None,
    text: bool = False,
    seed: int | None = None,
) -> LoraEntry:
    """Random weights, written by diffusers and PEFT."""
    torch.manual_seed(rank if seed is None else seed)
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=targets or ["to_q", "to_v", "to_out.0"],
        init_lora_weights=False,
    )
    unet.add_adapter(config)
    metadata = {"unet_lora_adapter_metadata": config.to_dict()}
    layers = None
    if text:
        encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder")
        words = LoraConfig(
            r=rank, lora_alpha=alpha, target_modules=["q_proj", "v_proj"], init_lora_weights=False
        )
        encoder.add_adapter(words)
        layers = get_peft_model_state_dict(encoder, save_embedding_layers=False)
        metadata["text_encoder_lora_adapter_metadata"] = words.to_dict()
    StableDiffusionPipeline.save_lora_weights(
        str(into),
        unet_lora_layers=get_peft_model_state_dict(unet, save_embedding_layers=False),
        text_encoder_lora_layers=layers,
        weight_name=f"{name}.safetensors",
        **metadata,
    )
    return check_file(into / f"{name}.safetensors")


def make_job(seed: int = 3, **changes: object) -> EngineJob:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    job = EngineJob(pixels, "sharp photo", "", 0.4, 10, 1.0, seed=seed, preview=False)
    return replace(job, **changes)  # type: ignore[arg-type]


def by_pipeline(pipeline: Any, job: EngineJob, **more: object) -> Any:
    """The images of diffusers' own pipeline for a job; `more` are arguments of its call."""
    # diffusers runs no step if int(steps * strength) is 0; an engine runs one.
    strength = max(job.strength, min(1.0, 1 / job.steps + 1e-9))
    with torch.inference_mode():
        return pipeline(
            prompt=job.prompt,
            negative_prompt=job.negative_prompt or None,
            image=torch.from_numpy(job.pixels).permute(2, 0, 1)[None] / 255,
            strength=strength,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(job.seed),
            **more,
        ).images


def run_all(engine: Engine, jobs: list[EngineJob], seconds: float = 60) -> list[EngineResult]:
    futures = [engine.submit(job, lambda _: None) for job in jobs]
    return [future.result(timeout=seconds) for future in futures]


def batch_sizes(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch, unit: str = "step"
) -> list[int]:
    """The number of rows in each of these units that follows."""
    sizes: list[int] = []
    work = getattr(engine._units, unit)

    def counted(rows: list[object]) -> object:
        sizes.append(len(rows))
        return work(rows)

    monkeypatch.setattr(engine._units, unit, counted)
    return sizes


def psnr(one: Pixels, other: Pixels) -> float:
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
