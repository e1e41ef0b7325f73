"""Compression: JPEG once, JPEG again on another grid, WebP. A level is the encoder's quality."""

import io
from typing import Any

import numpy as np
from PIL import Image

from worker.training.damage.pixels import Pixels

Random = np.random.Generator

BLOCK = 8
FIRST_PASS = (70, 96)
# Phones and chat applications save colour at half size; cameras and editors often at full size.
_HALF, _WHOLE = 2, 0
WHOLE_COLOUR_SHARE = 0.2
# Most files are seen as they were saved; in a cropped one, the grid begins anywhere.
CUT_SHARE = 0.25


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Once, with colour at half size, as phones and chat applications write it."""
    return _passed(pixels, "JPEG", quality=round(quality), subsampling=_HALF)


def drawn_jpeg(pixels: Pixels, quality: float, random: Random) -> Pixels:
    """Once; in some files the grid begins anywhere, and some have colour at full size."""
    grid = _another_grid(random) if random.random() < CUT_SHARE else (0, 0)
    return _on_grid(pixels, quality, grid, random)


def jpeg_twice(pixels: Pixels, quality: float, random: Random) -> Pixels:
    """A camera's file, cropped, and saved again at `quality`: two grids that do not align."""
    first = _on_grid(pixels, random.uniform(*FIRST_PASS), _another_grid(random), random)
    return drawn_jpeg(first, quality, random)


def webp(pixels: Pixels, quality: float) -> Pixels:
    """WebP with loss."""
    return _passed(pixels, "WEBP", quality=round(quality), method=2)


def _another_grid(random: Random) -> tuple[int, int]:
    above, left = random.integers(0, BLOCK, 2)
    return int(above), int(left)


def _on_grid(pixels: Pixels, quality: float, grid: tuple[int, int], random: Random) -> Pixels:
    """Encoded with this many mirrored rows and columns before it, which are removed afterwards."""
    above, left = grid
    colour = _WHOLE if random.random() < WHOLE_COLOUR_SHARE else _HALF
    padded = np.pad(pixels, ((above, 0), (left, 0), (0, 0)), mode="symmetric")
    made = _passed(padded, "JPEG", quality=round(quality), subsampling=colour)
    return np.ascontiguousarray(made[above:, left:])


def _passed(pixels: Pixels, kind: str, **options: Any) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    with Image.open(buffer) as opened:
        return np.asarray(opened.convert("RGB"))
