"""A finished picture in its photo's colours, beside the arithmetic as it was published."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.engine_jobs import make_job, run_all
from worker.engine.base.tile_size import TileSize
from worker.engine.colours import with_colours
from worker.engine.interface import Pixels
from worker.engine.step.step_engine import StepEngine


def pair(height: int = 70, width: int = 90) -> tuple[Pixels, Pixels]:
    """A photo, and a picture of it that is darker, redder and of less contrast."""
    random = np.random.default_rng(4)
    photo = random.integers(40, 216, (height, width, 3), dtype=np.uint8)
    made = np.clip(photo * (0.7, 0.5, 0.4) + random.normal(30, 6, photo.shape), 0, 255)
    return photo, made.astype(np.uint8)


def as_tensor(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def adain(photo: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """Huang and Belongie's formula, channel by channel."""
    flat, own = photo.flatten(2), made.flatten(2)
    wanted = (flat.var(2) + 1e-5).sqrt()[..., None], flat.mean(2)[..., None]
    had = (own.var(2) + 1e-5).sqrt()[..., None], own.mean(2)[..., None]
    return ((own - had[1]) / had[0] * wanted[0] + wanted[1]).view_as(made)


def low(picture: torch.Tensor) -> torch.Tensor:
    """Five levels of the blur that StableSR's wavelet decomposition has."""
    taps = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
    kernel = taps.expand(3, 1, 3, 3)
    for level in range(5):
        radius = 2**level
        padded = functional.pad(picture, (radius,) * 4, mode="replicate")
        picture = functional.conv2d(padded, kernel, groups=3, dilation=radius)
    return picture


@pytest.mark.parametrize("sides", [(70, 90), (9, 400), (1, 1)])
def test_both_transfers_are_the_published_ones_to_a_grey_level(sides: tuple[int, int]) -> None:
    photo, made = pair(*sides)
    one, other = as_tensor(photo), as_tensor(made)
    expected = {"wavelet": other - low(other) + low(one)}
    if sides != (1, 1):
        expected["adain"] = adain(one, other)
    for mode, tensor in expected.items():
        levels = (tensor[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()
        assert np.abs(with_colours(mode, photo, made) - levels).max() <= 1  # type: ignore[arg-type]


def test_flat_and_tiny_pictures_stay_finite() -> None:
    photo, made = np.full((4, 4, 3), 200, np.uint8), np.full((4, 4, 3), 10, np.uint8)
    for mode in ("adain", "wavelet"):
        assert (with_colours(mode, photo, made) == 200).all()  # type: ignore[arg-type]
        assert with_colours(mode, photo[:1, :1], made[:1, :1]).tolist() == [[[200] * 3]]  # type: ignore[arg-type]


def test_other_modes_leave_the_picture_as_it_is() -> None:
    photo, made = pair()
    assert with_colours("none", photo, made) is made
    assert with_colours("residual", photo, made) is made


@pytest.mark.parametrize("mode", ["adain", "wavelet"])
def test_an_engine_gives_colours_to_the_finished_picture_with_and_without_tiles(
    engine: StepEngine, mode: str
) -> None:
    pixels = np.random.default_rng(8).integers(90, 256, (48, 112, 3), dtype=np.uint8)
    plain = make_job(pixels=pixels)
    job = replace(plain, fidelity=mode)  # type: ignore[arg-type]
    for size in (engine._limits.tile_size, TileSize(side=48, overlap=16, least=32)):
        engine._limits = replace(engine._limits, tile_size=size)
        made, unchanged = run_all(engine, [job, plain])
        expected = with_colours(job.fidelity, pixels, unchanged.pixels)
        assert np.abs(made.pixels.astype(int) - expected).max() <= 1
        assert not np.array_equal(made.pixels, unchanged.pixels)
