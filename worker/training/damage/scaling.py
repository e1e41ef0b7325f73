"""Size: a picture shrunk by one filter and enlarged by another. A level is the factor of
shrinking.
"""

import numpy as np
from PIL import Image

from worker.training.damage.pixels import Pixels

Random = np.random.Generator
Filter = Image.Resampling

# Nearest is rare, but some applications use it.
_SHRINKING = (Filter.BICUBIC, Filter.BILINEAR, Filter.LANCZOS, Filter.BOX, Filter.HAMMING)
_ENLARGING = (Filter.BICUBIC, Filter.BILINEAR, Filter.LANCZOS)
NEAREST_SHARE = 0.03


def resized(pixels: Pixels, width: int, height: int, by: Filter = Filter.BICUBIC) -> Pixels:
    """Resized; every filter except nearest smooths when it shrinks."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), by))


def shrunk(pixels: Pixels, factor: float, by: Filter = Filter.BICUBIC) -> Pixels:
    """Shrunk by `factor`, to at least one pixel a side."""
    height, width = (max(1, round(side / factor)) for side in pixels.shape[:2])
    return resized(pixels, width, height, by)


def lower_resolution(pixels: Pixels, factor: float) -> Pixels:
    """Shrunk and enlarged again, both bicubic."""
    return like(shrunk(pixels, factor), pixels)


def drawn_resolution(pixels: Pixels, factor: float, random: Random) -> Pixels:
    """Shrunk and enlarged again by random filters."""
    return like(shrunk(pixels, factor, shrinking(random)), pixels, enlarging(random))


def like(pixels: Pixels, model: Pixels, by: Filter = Filter.BICUBIC) -> Pixels:
    """Resized to the size of `model`."""
    height, width = model.shape[:2]
    return resized(pixels, width, height, by)


def shrinking(random: Random) -> Filter:
    """A random filter for shrinking."""
    if random.random() < NEAREST_SHARE:
        return Filter.NEAREST
    return _SHRINKING[int(random.integers(len(_SHRINKING)))]


def enlarging(random: Random) -> Filter:
    """A random filter for enlarging."""
    return _ENLARGING[int(random.integers(len(_ENLARGING)))]
