"""What a device's memory decides, and that the engines do as it says."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.engine_jobs import CPU
from worker.engine.base import base_loading as loading
from worker.engine.base.base_loading import load_base
from worker.engine.base.memory_plan import GIB
from worker.engine.base.offload_slot import OffloadSlot
from worker.engine.base.profiles import EngineLimits, choose_limits, choose_profile
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.residency import Residency
from worker.engine.step.memory_recovery import MemoryRecovery

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("memory_gib", "profile"),
    [
        (24, "full"),
        (6, "full"),
        (4.5, "vae_tiling"),
        (3.8, "model_offload"),  # what a card of 4 GiB has, which this was first asked to fit in
        (3, "model_offload"),
        (2, "sequential_offload"),
    ],
)
def test_sd15_in_half_precision_gets_the_profile_that_fits(memory_gib: float, profile: str) -> None:
    assert choose_profile(int(memory_gib * GIB), 2_133_000_000, 1_719_000_000) == profile


@pytest.mark.parametrize("pixels", [128 * 128, 96 * 128])
def test_on_a_cpu_small_rows_share_a_step(folder: Path, pixels: int) -> None:
    assert choose_limits(load_base(str(folder), CPU)).rows_for(pixels) == 4


@pytest.mark.parametrize("pixels", [256 * 256, 512 * 512, 2048 * 2048])
def test_on_a_cpu_a_row_that_uses_all_cores_steps_alone(folder: Path, pixels: int) -> None:
    assert choose_limits(load_base(str(folder), CPU)).rows_for(pixels) == 1


def test_without_a_bound_rows_of_any_size_share_a_step() -> None:
    assert EngineLimits("full", 8, 1, 1, 1).rows_for(2048 * 2048) == 8


class Module:
    """Remembers where it was sent."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def to(self, place: Any) -> None:
        self.places.append(str(place))


@pytest.mark.parametrize(
    ("profile", "whole", "unet"),
    [
        ("full", ["cuda"], []),
        ("vae_tiling", ["cuda"], []),
        ("model_offload", [], ["cuda"]),
        ("sequential_offload", [], []),
    ],
)
def test_only_what_the_profile_says_goes_to_the_device(
    profile: str, whole: list[str], unet: list[str]
) -> None:
    pipeline: Any = Module()
    pipeline.unet = Module()
    loading._place(pipeline, CUDA, profile)
    assert (pipeline.places, pipeline.unet.places) == (whole, unet)


class Codec:
    """Remembers whether it works in tiles."""

    def __init__(self, vae: Any) -> None:
        self.offload_slot = OffloadSlot([vae], CUDA)
        self.is_tiled = False

    def forget(self) -> int:
        return 0

    def tile(self, enabled: bool) -> bool:
        self.is_tiled = enabled
        return True


def with_recovery(profile: str) -> tuple[MemoryRecovery, Codec, Module]:
    module = Module()
    codec = Codec(module)
    prompts = SimpleNamespace(offload_slot=OffloadSlot([], CUDA))
    units: Any = SimpleNamespace(codec=codec, prompts=prompts)
    upscalers: Any = SimpleNamespace(residency=SimpleNamespace(drop_unused=lambda: 0))
    adapters = Residency[AdapterWeights](1)
    return MemoryRecovery(units, adapters, upscalers, profile), codec, module


@pytest.mark.parametrize(
    ("profile", "tiled", "offloaded"),
    [("full", False, False), ("vae_tiling", True, False), ("model_offload", True, True)],
)
def test_a_profile_holds_from_the_start_and_after_every_climb(
    profile: str, tiled: bool, offloaded: bool
) -> None:
    # Given an engine of this profile
    recovery, codec, module = with_recovery(profile)
    assert (codec.is_tiled, module.places) == (tiled, ["cpu"] if offloaded else [])
    # When a row needed every rung, and the next one does not
    assert recovery.tile() is not tiled  # what stands already gives up nothing
    assert recovery.offload() is not offloaded
    recovery.restore()
    # Then what the profile says stands, and no more
    assert codec.is_tiled is tiled
    assert module.places[-1] == ("cpu" if offloaded else "cuda")
    with codec.offload_slot.present():
        assert module.places[-1] == "cuda"
    assert module.places[-1] == ("cpu" if offloaded else "cuda")


@pytest.mark.parametrize(
    ("profile", "asked"),
    [
        ("cpu", []),
        ("full", []),
        ("model_offload", ["enable_model_cpu_offload"]),
        ("sequential_offload", ["enable_sequential_cpu_offload"]),
    ],
)
def test_diffusers_own_engine_offloads_as_the_profile_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, profile: str, asked: list[str]
) -> None:
    loaded, called = replace(load_base(str(folder), CPU), profile=profile), list[str]()
    for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        monkeypatch.setattr(
            type(loaded.pipeline), name, lambda *_, name=name, **__: called.append(name)
        )
    engine = DiffusersEngine(loaded, lora_slots=1)
    engine.close()
    assert (called, engine.profile) == (asked, profile)
