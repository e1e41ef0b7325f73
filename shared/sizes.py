"""Sizes of pictures in pixels: the size of a job's result, and the largest size within a limit.

Owns the arithmetic, which gateway and worker must share. The settings own the limits.
"""

from math import floor, sqrt

from shared.params import JobParams

Size = tuple[int, int]
"""Width and height."""


def result_size(size: Size, params: JobParams) -> Size:
    """The photo's size times `upscale`; its longer side is at most `max_side`, if given."""
    factor = float(params.factor)
    if params.max_side is not None:
        factor = min(factor, params.max_side / max(size))
    return scaled(size, factor)


def working_size(size: Size, params: JobParams) -> Size:
    """The size at which a job works before its result is enlarged: never above the photo's own."""
    if params.max_side is None:
        return size
    return scaled(size, min(1.0, params.max_side / max(size)))


def scaled(size: Size, factor: float) -> Size:
    """Both sides times `factor`, at least one pixel."""
    width, height = size
    return max(1, round(width * factor)), max(1, round(height * factor))


def fitting(size: Size, pixels: int, side: int | None = None) -> Size:
    """The largest size of the same shape with at most `pixels` pixels and no side above `side`."""
    width, height = size
    factor = min(1.0, sqrt(pixels / (width * height)))
    if side is not None:
        factor = min(factor, side / max(size))
    return max(1, floor(width * factor)), max(1, floor(height * factor))


def megapixels(size: Size) -> float:
    """Millions of pixels."""
    return size[0] * size[1] / 1e6
