"""Arithmetic shared by several sorts of damage: rounding and convolution.

Owns the edges: a picture is mirrored beyond its border, so that damage does not stop there.
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]


def to_uint8(values: NDArray[np.floating]) -> Pixels:
    """Rounded to whole grey levels within 0..255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def convolved(values: Plane, kernel: Plane) -> Plane:
    """[H, W, C], every channel convolved by `kernel` [h, w], whose sides are odd."""
    height, width = values.shape[:2]
    below, right = (side // 2 for side in kernel.shape)
    padded = np.pad(values, ((below, below), (right, right), (0, 0)), mode="symmetric")
    size = padded.shape[:2]
    answer = np.fft.rfft2(kernel, size)[..., None] * np.fft.rfft2(padded, axes=(0, 1))
    whole = np.fft.irfft2(answer, size, axes=(0, 1))
    # The product of transforms shifts the result by the kernel's reach to the right and down.
    return np.asarray(
        whole[2 * below : 2 * below + height, 2 * right : 2 * right + width], np.float32
    )


def gaussian_kernel(across: float, along: float, angle: float = 0.0) -> Plane:
    """A Gaussian with two deviations in pixels, rotated by `angle` (radians), truncated at 4 of
    them.
    """
    radius = max(1, round(4 * max(across, along)))
    x, y = _offsets(radius)
    turned = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return _summing_to_one(np.exp(-0.5 * ((turned[0] / across) ** 2 + (turned[1] / along) ** 2)))


def disk_kernel(radius: float) -> Plane:
    """A uniform disk with a rim one pixel wide: a point out of focus."""
    x, y = _offsets(int(np.ceil(radius)) + 1)
    return _summing_to_one(np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def line_kernel(length: float, angle: float) -> Plane:
    """A line of `length` pixels at `angle` (radians): a point during camera motion."""
    x, y = _offsets(int(np.ceil(length / 2)) + 1)
    along = np.abs(np.cos(angle) * x + np.sin(angle) * y)
    aside = np.abs(np.cos(angle) * y - np.sin(angle) * x)
    inside = np.clip(length / 2 + 0.5 - along, 0, 1) * np.clip(1 - aside, 0, 1)
    return _summing_to_one(inside)


def _offsets(radius: int) -> tuple[Plane, Plane]:
    steps = np.arange(-radius, radius + 1, dtype=np.float32)
    return steps[None, :], steps[:, None]


def _summing_to_one(kernel: NDArray[np.floating]) -> Plane:
    return np.asarray(kernel / kernel.sum(), np.float32)
