"""Compression: JPEG once, JPEG again on another grid, WebP. A level is the encoder's quality."""

import io
from typing import Any

import numpy as np
from PIL import Image

from worker.training.damage.pixels import Pixels

Random = np.random.Generator

BLOCK = 8
FIRST_PASS = (70, 96)
# Phones and chat applications keep colour at half size; cameras and editors often all of it.
_HALF, _WHOLE = 2, 0
WHOLE_COLOUR_SHARE = 0.2


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Once, with colour at half size, as phones and chat applications write it."""
    return _passed(pixels, "JPEG", quality=round(quality), subsampling=_HALF)


def drawn_jpeg(pixels: Pixels, quality: float, random: Random) -> Pixels:
    """Once, on a grid that begins anywhere; some files keep colour whole."""
    colour = _WHOLE if random.random() < WHOLE_COLOUR_SHARE else _HALF
    return _on_another_grid(
        pixels, random, lambda p: _passed(p, "JPEG", quality=round(quality), subsampling=colour)
    )


def jpeg_twice(pixels: Pixels, quality: float, random: Random) -> Pixels:
    """A camera's file, cut, and saved again at `quality`: two grids that do not meet."""
    first = drawn_jpeg(pixels, random.uniform(*FIRST_PASS), random)
    return drawn_jpeg(first, quality, random)


def webp(pixels: Pixels, quality: float) -> Pixels:
    """WebP with loss."""
    return _passed(pixels, "WEBP", quality=round(quality), method=2)


def _on_another_grid(pixels: Pixels, random: Random, encode: Any) -> Pixels:
    """Encoded with up to 7 mirrored rows and columns before it, which are cut off again."""
    above, left = (int(n) for n in random.integers(0, BLOCK, 2))
    padded = np.pad(pixels, ((above, 0), (left, 0), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(encode(padded)[above:, left:])


def _passed(pixels: Pixels, kind: str, **options: Any) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    with Image.open(buffer) as opened:
        return np.asarray(opened.convert("RGB"))
