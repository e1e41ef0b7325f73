"""Measurements of a picture's quality.

Owns the figures; quality_check.py decides which values are too low.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from operator import mul

from PIL import Image, ImageFilter

# Quality is measured at this size, so that it is comparable for every size of one photo.
QUALITY_SIDE = 512
# A Laplacian over two pixels: over one, rounding to 8 bits gives values as high as a blurred
# photo's.
SHRINK = 2
LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)
# A sharp subject before a soft background counts as sharp, so the sharpest of 4 x 4 parts is used.
PARTS = 4
BRIGHT_SHARE = 0.99
LEVELS = range(256)
SQUARES = [level * level for level in LEVELS]


def measure(image: Image.Image) -> dict[str, float]:
    """Measures an RGB picture's quality.

    `sharpness` is the Laplacian's variance, `light` the level (0..255) below which 99 % of the
    picture lies, `spread` the largest deviation of a colour channel.
    """
    small = _small(image)
    luma = small.convert("L")
    return {
        "sharpness": round(_sharpness(luma), 2),
        "light": float(_level_below(luma.histogram(), BRIGHT_SHARE)),
        "spread": round(_spread(small.histogram()), 2),
    }


def _small(image: Image.Image) -> Image.Image:
    scale = QUALITY_SIDE / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _sharpness(luma: Image.Image) -> float:
    half = luma.reduce(SHRINK)
    if min(half.size) < 2 + PARTS:
        return _variance(luma.histogram())
    detail = half.filter(LAPLACIAN).crop((1, 1, half.width - 1, half.height - 1))
    return max(_variance(part.histogram()) for part in _parts(detail))


def _spread(histogram: Sequence[int]) -> float:
    """The largest deviation of a channel; the channels' levels follow one another."""
    channels = (histogram[at : at + 256] for at in range(0, len(histogram), 256))
    return sqrt(max(_variance(channel) for channel in channels))


def _variance(counts: Sequence[int]) -> float:
    """As PIL's `ImageStat`, which takes twenty times as long in Python's own loops."""
    total = sum(counts)
    levels: int = sum(map(mul, LEVELS, counts))
    squares: int = sum(map(mul, SQUARES, counts))
    return (squares * total - levels * levels) / (total * total)


def _parts(image: Image.Image) -> list[Image.Image]:
    rows, columns = (
        [side * number // PARTS for number in range(PARTS + 1)]
        for side in (image.height, image.width)
    )
    boxes = (
        (left, top, right, bottom)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    )
    return [image.crop(box) for box in boxes]


def _level_below(histogram: list[int], share: float) -> int:
    wanted, seen = share * sum(histogram), 0
    for level, count in enumerate(histogram):
        seen += count
        if seen >= wanted:
            return level
    return 255
