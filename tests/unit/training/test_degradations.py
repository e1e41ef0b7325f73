"""Damage: what each kind does, and that it can be repeated."""

from typing import get_args

import numpy as np
import pytest

from worker.training.degradations import RANGES, Kind, Pixels, add_noise, blur, degrade
from worker.training.metrics import psnr

KINDS = get_args(Kind)


def scene(height: int = 48, width: int = 64) -> Pixels:
    coarse = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return blur(coarse, 0.8)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_size_and_loses_something(kind: Kind) -> None:
    clean = scene(47, 63)
    damaged = degrade(clean, kind, RANGES[kind].middle, np.random.default_rng(0))
    assert damaged.shape == clean.shape
    assert damaged.dtype == np.uint8
    assert psnr(damaged, clean) < 40


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_damage(kind: Kind) -> None:
    first, second = (
        degrade(scene(), kind, RANGES[kind].middle, np.random.default_rng(4)) for _ in range(2)
    )
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_the_far_end_of_the_range_is_worse(kind: Kind) -> None:
    ends = [
        psnr(degrade(scene(), kind, level, np.random.default_rng(0)), scene())
        for level in RANGES[kind].measured
    ]
    worse, better = (0, 1) if kind == "jpeg" else (1, 0)
    assert ends[worse] < ends[better]


def test_noise_has_the_deviation_asked_for() -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    noisy = add_noise(grey, 12, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(12, rel=0.03)


def test_a_gaussian_widens_a_point_to_its_sigma() -> None:
    point = np.zeros((33, 33, 3), np.uint8)
    point[16, 16] = 255
    spread = blur(point, 1.5)[..., 0].astype(float).sum(0)
    offsets = np.arange(33) - 16
    deviation = np.sqrt((spread * offsets**2).sum() / spread.sum())
    assert deviation == pytest.approx(1.5, abs=0.15)
