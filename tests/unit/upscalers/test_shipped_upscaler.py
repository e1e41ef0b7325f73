"""The shipped enlarger is better than the filter on photos that no training saw."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from shared.settings import REPOSITORY
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import OURS
from worker.engine.interface import Pixels
from worker.engine.upscale.enlarging import Enlarging
from worker.engine.upscale.loading import LoadedUpscaler, load_upscaler
from worker.training.metrics import psnr

SIDE = 160


@pytest.fixture(scope="module")
def loaded() -> LoadedUpscaler:
    catalog = UpscalerCatalog(REPOSITORY / "upscalers")
    catalog.scan()
    return load_upscaler(catalog.resolve(OURS), torch.device("cpu"))


def crop(name: str) -> Pixels:
    photo = np.asarray(getattr(data, name)())
    top, left = ((length - SIDE) // 3 for length in photo.shape[:2])
    return photo[top : top + SIDE, left : left + SIDE, :3]


def resized(pixels: Pixels, side: int, how: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), how))


def enlarged(pixels: Pixels, factor: int, loaded: LoadedUpscaler) -> Pixels:
    work = Enlarging(pixels, factor, loaded)
    with torch.inference_mode():
        while work.result is None:
            work.step()
    return work.result


def sharpness(pixels: Pixels) -> float:
    """Mean step between neighbours."""
    return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())


def test_it_is_nearer_to_the_photos_than_the_filter(loaded: LoadedUpscaler) -> None:
    gains = []
    for name in ("astronaut", "chelsea", "coffee"):
        small = resized(crop(name), SIDE // 4, Image.Resampling.BOX)
        by_filter = resized(small, SIDE, Image.Resampling.LANCZOS)
        made = enlarged(small, 4, loaded)
        gains.append(psnr(made, crop(name)) - psnr(by_filter, crop(name)))
    assert np.mean(gains) > 0.1, gains


@pytest.mark.parametrize("factor", [2, 4])
def test_its_edges_are_sharper_and_its_colours_are_those_of_the_photo(
    factor: int, loaded: LoadedUpscaler
) -> None:
    for name in ("astronaut", "chelsea", "coffee"):
        photo = crop(name)
        made = enlarged(photo, factor, loaded)
        by_filter = resized(photo, SIDE * factor, Image.Resampling.LANCZOS)
        assert sharpness(made) > sharpness(by_filter), name
        shift = np.abs(made.mean((0, 1)) - photo.mean((0, 1))).max()
        assert shift < 1.5, name
