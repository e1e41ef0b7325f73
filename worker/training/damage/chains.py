"""Chains: several sorts of damage in the order in which a camera and applications cause them.

A level is the strength of the whole chain: 1 is a usual one, and all parts scale with it.
"""

import numpy as np

from worker.training.damage import blurring, noise
from worker.training.damage.compression import drawn_jpeg, jpeg, webp
from worker.training.damage.pixels import Pixels
from worker.training.damage.scaling import enlarging, like, lower_resolution, shrinking, shrunk

Random = np.random.Generator

ROUNDS = 2
# Above this no loss is visible; below it nothing is left of the photo.
BEST_JPEG, WORST_JPEG = 95.0, 8.0


def phone(pixels: Pixels, strength: float, random: Random) -> Pixels:
    """The chain for measurements: Gaussian 0.8, half size, white noise 6, JPEG 40 at strength 1."""
    small = shrunk(blurring.gaussian(pixels, 0.8 * strength), 1 + strength)
    sent = jpeg(noise.white(small, 6 * strength, random), min(BEST_JPEG, 40 / strength))
    return like(sent, pixels)


def camera(pixels: Pixels, strength: float, random: Random) -> Pixels:
    """A phone camera's result: slightly unsharp, noise, sharpened again, a JPEG."""
    taken = blurring.defocus(pixels, 0.5 + 0.5 * strength * random.random(), random)
    taken = _camera_noise(taken, 4 * strength * random.uniform(0.3, 1.5), random)
    if random.random() < 0.4:
        taken = blurring.over_sharpened(taken, random.uniform(0.2, 0.9), random)
    return drawn_jpeg(taken, _quality(random.uniform(75, 96), strength), random)


def chat(pixels: Pixels, strength: float, random: Random) -> Pixels:
    """Sent through a chat application: a camera's photo, downscaled, saved as JPEG, often forwarded
    once more, and shown at its former size. Some are not downscaled.
    """
    sent = camera(pixels, 0.7 * strength, random)
    for _ in range(1 + int(random.random() < 0.4)):
        if random.random() < 0.7:
            sent = shrunk(sent, 1 + 0.6 * strength * random.random(), shrinking(random))
        sent = drawn_jpeg(sent, _quality(random.uniform(35, 85), strength), random)
    return like(sent, pixels, enlarging(random))


def second_order(pixels: Pixels, strength: float, random: Random) -> Pixels:
    """Two rounds of blur, downscaling, noise and compression, each by chance and of any sort.

    After Wang et al. 2021 (Real-ESRGAN, arXiv:2107.10833), milder: the picture keeps its size.
    """
    left = pixels
    for number in range(ROUNDS):
        left = _one_round(left, strength / (1 + number), random)
    left = like(left, pixels, enlarging(random))
    if random.random() < 0.3:
        left = blurring.over_sharpened(left, random.uniform(0.2, 1.0) * strength, random)
    return drawn_jpeg(left, _quality(random.uniform(45, 95), strength), random)


def mild_company(pixels: Pixels, random: Random) -> Pixels:
    """Mild additional damage, which nearly every photo has besides its main damage; applied after
    it.
    """
    if random.random() < 0.25:
        pixels = blurring.gaussian(pixels, random.uniform(0.35, 0.7))
    if random.random() < 0.3:
        pixels = noise.correlated(pixels, random.uniform(0.7, 4), random)
    if random.random() < 0.15:
        pixels = lower_resolution(pixels, random.uniform(1.1, 1.5))
    if random.random() < 0.1:
        pixels = blurring.over_sharpened(pixels, random.uniform(0.2, 0.8), random)
    if random.random() < 0.65:
        pixels = drawn_jpeg(pixels, random.uniform(70, 95), random)
    return pixels


def _one_round(pixels: Pixels, strength: float, random: Random) -> Pixels:
    if random.random() < 0.7:
        pixels = _any_blur(pixels, strength, random)
    if random.random() < 0.5:
        pixels = shrunk(pixels, 1 + 0.8 * strength * random.random(), shrinking(random))
    if random.random() < 0.7:
        pixels = _any_noise(pixels, 10 * strength * random.uniform(0.2, 1.3), random)
    quality = _quality(random.uniform(40, 95), strength)
    if random.random() < 0.15:
        return webp(pixels, quality)
    return drawn_jpeg(pixels, quality, random) if random.random() < 0.6 else pixels


def _any_blur(pixels: Pixels, strength: float, random: Random) -> Pixels:
    size = strength * random.uniform(0.3, 1.5)
    which = random.random()
    if which < 0.4:
        return blurring.anisotropic(pixels, max(0.3, size), random)
    if which < 0.7:
        return blurring.gaussian(pixels, max(0.3, size))
    return blurring.disk(pixels, max(0.5, 1.5 * size))


def _any_noise(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    sorts = (noise.correlated, noise.correlated, noise.bayer, noise.signal_dependent, noise.grey)
    return sorts[int(random.integers(len(sorts)))](pixels, deviation, random)


def _camera_noise(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    sort = noise.correlated if random.random() < 0.6 else noise.bayer
    return sort(pixels, deviation, random)


def _quality(usual: float, strength: float) -> float:
    """Stronger chains compress more: the quantisation step grows with the strength."""
    return float(np.clip(100 - (100 - usual) * strength, WORST_JPEG, BEST_JPEG))
