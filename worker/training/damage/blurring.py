"""Blur: a lens out of focus, camera motion, smooth scaling; and over-sharpening.

Levels are in pixels of the picture.
"""

import numpy as np

from worker.training.damage.pixels import (
    Pixels,
    Plane,
    convolved,
    disk_kernel,
    gaussian_kernel,
    line_kernel,
    to_uint8,
)

Random = np.random.Generator

MOST_ELONGATED = 3.0
SLIGHT_SHAKE = 0.35
MOST_SHARPENED = 2.0
HALO = (0.8, 2.5)


def gaussian(pixels: Pixels, sigma: float) -> Pixels:
    """A round Gaussian of `sigma` pixels."""
    return _blurred(pixels, gaussian_kernel(sigma, sigma))


def anisotropic(pixels: Pixels, sigma: float, random: Random) -> Pixels:
    """A Gaussian up to three times as long as wide; the mean of both deviations is `sigma`."""
    ratio = np.exp(random.uniform(0, np.log(MOST_ELONGATED)))
    across = 2 * sigma / (1 + ratio)
    return _blurred(pixels, gaussian_kernel(across, across * ratio, random.uniform(0, np.pi)))


def disk(pixels: Pixels, radius: float) -> Pixels:
    """A lens out of focus: every point becomes a disk of `radius` pixels."""
    return _blurred(pixels, disk_kernel(radius))


def motion(pixels: Pixels, length: float, random: Random) -> Pixels:
    """Camera motion of `length` pixels in a straight line while the shutter is open."""
    return _blurred(pixels, line_kernel(length, random.uniform(0, np.pi)))


def defocus(pixels: Pixels, radius: float, random: Random) -> Pixels:
    """Slightly unsharp: a small disk, the lens's own softness, and slight camera shake."""
    kernels = [disk_kernel(radius), gaussian_kernel(*random.uniform(0.3, 0.6, 2))]
    if random.random() < SLIGHT_SHAKE:
        kernels.append(line_kernel(random.uniform(1, 2.5), random.uniform(0, np.pi)))
    values = pixels.astype(np.float32)
    for kernel in kernels:
        values = convolved(values, kernel)
    return to_uint8(values)


def over_sharpened(pixels: Pixels, amount: float, random: Random) -> Pixels:
    """Ringing at edges, as a phone's sharpening causes it; `amount` of the detail is added."""
    soft = convolved(pixels.astype(np.float32), _halo(random))
    return to_uint8(pixels + amount * (pixels - soft))


def _halo(random: Random) -> Plane:
    sigma = random.uniform(*HALO)
    return gaussian_kernel(sigma, sigma)


def _blurred(pixels: Pixels, kernel: Plane) -> Pixels:
    return to_uint8(convolved(pixels.astype(np.float32), kernel))
