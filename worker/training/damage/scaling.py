"""Size: a picture shrunk by some filter and brought back by another. A level is times smaller."""

import numpy as np
from PIL import Image

from worker.training.damage.pixels import Pixels

Random = np.random.Generator
Filter = Image.Resampling

# Nearest is rare, but some applications do shrink so.
_SHRINKING = (Filter.BICUBIC, Filter.BILINEAR, Filter.LANCZOS, Filter.BOX, Filter.HAMMING)
_ENLARGING = (Filter.BICUBIC, Filter.BILINEAR, Filter.LANCZOS)
NEAREST_SHARE = 0.03


def resized(pixels: Pixels, width: int, height: int, by: Filter = Filter.BICUBIC) -> Pixels:
    """Of another size; every filter but nearest smooths where it shrinks."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), by))


def shrunk(pixels: Pixels, factor: float, by: Filter = Filter.BICUBIC) -> Pixels:
    """`factor` times smaller, a pixel a side at least."""
    height, width = (max(1, round(side / factor)) for side in pixels.shape[:2])
    return resized(pixels, width, height, by)


def lower_resolution(pixels: Pixels, factor: float) -> Pixels:
    """Shrunk and brought back to size, both bicubic."""
    return like(shrunk(pixels, factor), pixels)


def drawn_resolution(pixels: Pixels, factor: float, random: Random) -> Pixels:
    """Shrunk and brought back to size by filters that are drawn."""
    return like(shrunk(pixels, factor, shrinking(random)), pixels, enlarging(random))


def like(pixels: Pixels, model: Pixels, by: Filter = Filter.BICUBIC) -> Pixels:
    """As large as `model`."""
    height, width = model.shape[:2]
    return resized(pixels, width, height, by)


def shrinking(random: Random) -> Filter:
    """A filter that something may have shrunk by."""
    if random.random() < NEAREST_SHARE:
        return Filter.NEAREST
    return _SHRINKING[int(random.integers(len(_SHRINKING)))]


def enlarging(random: Random) -> Filter:
    """A filter that something may have enlarged by."""
    return _ENLARGING[int(random.integers(len(_ENLARGING)))]
