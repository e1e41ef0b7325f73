"""The LoRAs that ship must enhance: a broken weight file cannot pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from shared.loras.sidecar import read_sidecar
from worker.training.damage import RANGES, Kind, Pixels, degrade
from worker.training.frozen_base import FrozenBase, load_frozen
from worker.training.metrics import psnr
from worker.training.recipe import Recipe
from worker.training.validation import restore

ROOT = Path(__file__).parents[3]

# A good deal less than measured at the LoRA's own strength, in dB on this part of this photo.
SHIPPED: list[tuple[str, Kind, float]] = [
    ("denoise", "noise", 5.0),
    ("deblur", "blur", 1.5),
    ("dejpeg", "jpeg", 0.3),
    ("lowres", "lowres", 0.3),
    ("face_restore", "phone", 0.15),
]


@pytest.fixture
def base() -> FrozenBase:
    return load_frozen(str(ROOT / "models" / "tiny"), torch.device("cpu"), bfloat16=False)


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return np.ascontiguousarray(np.asarray(data.coffee())[120:312, 200:392])


@pytest.mark.parametrize(("name", "kind", "margin"), SHIPPED)
def test_a_shipped_lora_makes_a_photo_it_never_saw_better(
    base: FrozenBase, photo: Pixels, name: str, kind: Kind, margin: float
) -> None:
    damaged = degrade(photo, kind, RANGES[kind].middle, np.random.default_rng(0))
    base.pipeline.load_lora_weights(ROOT / "loras", weight_name=f"{name}_tiny.safetensors")
    own = read_sidecar(ROOT / "loras" / f"{name}_tiny.toml").strength
    assert own is not None

    def gained(strength: float) -> float:
        recipe = Recipe(name=name, base="tiny", treats=(kind,), strength=strength)
        restored = restore(base, damaged, recipe, base.embed([name]))
        return psnr(restored, photo) - psnr(damaged, photo)

    # At its own strength, and where a person moves the slider.
    assert gained(own) > margin
    assert gained(0.4) > margin / 2


def test_the_base_alone_leaves_a_photo_nearly_as_it_is(base: FrozenBase, photo: Pixels) -> None:
    kept = restore(base, photo, Recipe(name="none", base="tiny"), base.embed([""]))
    assert psnr(kept, photo) > 36
