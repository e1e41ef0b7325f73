"""Limits where a result replaces the photo: by the job's mask, with a feathered edge.

Owns the feather, which lies within the mask: where the mask is black, not one level of the photo
changes. Works on finished pixels; engines know nothing of masks.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.errors import InvalidImage
from worker.engine.interface import Pixels

Levels = npt.NDArray[np.uint8]
# The feather is measured on a small copy of the mask, and is this share of its longer side wide.
LONGEST_SIDE, FEATHERS_A_SIDE, NARROWEST = 1024, 128, 2
# A level is an average of what it covers, and repeated where the picture is larger: nothing of a
# mask's white reaches what is black in it.
COVERING = Image.Resampling.BOX


class Masking:
    """A job's mask at any size."""

    def __init__(self, data: bytes) -> None:
        """Raises InvalidImage."""
        try:
            self._mask = Image.open(io.BytesIO(data), formats=("PNG",)).convert("L")
        except (OSError, ValueError) as error:
            raise InvalidImage("the stored mask cannot be read") from error

    def composed(self, photo: Pixels, made: Pixels) -> Pixels:
        """`made` where the mask is white, `photo` where it is black; both have one size."""
        height, width = photo.shape[:2]
        share = self._share((width, height))
        pictures = Image.fromarray(made), Image.fromarray(photo)
        return np.asarray(Image.composite(*pictures, share))

    def _share(self, size: tuple[int, int]) -> Image.Image:
        """The result's share in each pixel of a picture of this size."""
        mask = self._mask.resize(size, COVERING)
        scale = min(1.0, LONGEST_SIDE / max(size))
        small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        feather = Image.fromarray(feathered(np.asarray(self._mask.resize(small, COVERING))))
        feather = feather.resize(size, Image.Resampling.BILINEAR)
        return Image.fromarray(product(np.asarray(mask), np.asarray(feather)))


def feathered(mask: Levels) -> Levels:
    """A ramp from the edge of the white parts to their inside, steeper in parts that are narrower
    than the ramp, so that their middle is reached.
    """
    width = max(NARROWEST, max(mask.shape) // FEATHERS_A_SIDE)
    inside = (mask > 0).astype(np.uint8)
    depth = np.zeros_like(inside)
    for _ in range(width):
        depth += inside
        inside = _neighbours(inside, np.minimum)
    deepest = depth
    for _ in range(width):
        deepest = _neighbours(deepest, np.maximum)
    ramp = depth.astype(np.float32) / np.maximum(deepest, 1)
    return np.rint(ramp * 255).astype(np.uint8)


def product(one: Levels, other: Levels) -> Levels:
    """The product of two shares of 255, rounded; a row at a time needs no large intermediate."""
    out = np.empty_like(one)
    for row, (left, right) in enumerate(zip(one, other, strict=True)):
        out[row] = (left.astype(np.uint16) * right + 127) // 255
    return out


def _neighbours(levels: Levels, choose: "np.ufunc") -> Levels:
    """The least or greatest level among each pixel and its eight neighbours."""
    out = levels
    for axis in (0, 1):
        ends = [(1, 1) if axis == side else (0, 0) for side in (0, 1)]
        wide = np.pad(out, ends, mode="edge").swapaxes(0, axis)
        out = choose(choose(wide[:-2], wide[1:-1]), wide[2:]).swapaxes(0, axis)
    return out
