"""Noise: white as in textbooks, and as sensors, demosaicing and processing cause it.

A level is the standard deviation at middle grey, on a scale of 255, for every sort.
"""

import numpy as np

from worker.training.damage.pixels import Pixels, Plane, convolved, gaussian_kernel, to_uint8

Random = np.random.Generator

CORRELATED = (0.5, 1.2)
BLOTCHES = (1.5, 4.0)
GAMMA = 2.2
MOST_LIFTED = 1.6
# The green, red and blue sites of a 2x2 cell of a Bayer sensor.
_CELL = np.array([[1, 0], [2, 1]])
_BILINEAR = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]], np.float32)
_BILINEAR_GREEN = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], np.float32)


def white(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    """Independent in every pixel and colour."""
    return to_uint8(pixels + _drawn(pixels.shape, deviation, random))


def grey(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    """The same in all three colours: grain."""
    return to_uint8(pixels + _drawn((*pixels.shape[:2], 1), deviation, random))


def signal_dependent(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    """Grows with the root of the pixel's value, like Poisson noise, plus a constant part."""
    constant = random.uniform(0.1, 0.6)
    square = constant + (1 - constant) * _light(pixels)
    return to_uint8(pixels + _drawn(pixels.shape, deviation, random) * np.sqrt(square))


def correlated(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    """Noise of a camera's output: smoothed over half a pixel to a whole one, partly shared by the
    colours, weaker in highlights.
    """
    sigma = random.uniform(*CORRELATED)
    spread = _smooth(pixels.shape, sigma, random)
    spread = _mixed(spread, _smooth((*pixels.shape[:2], 1), sigma, random), random.random())
    return to_uint8(pixels + spread * _deviations(pixels, deviation, random.uniform(0.1, 0.8)))


def bayer(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    """Noise of a sensor with one colour per site, spread by bilinear demosaicing.

    The photo's own detail is unchanged: cameras demosaic it better than by interpolation.
    """
    sites = _drawn(pixels.shape[:2], 1, random)
    spread = _unit(demosaiced(sites))
    return to_uint8(pixels + spread * _deviations(pixels, deviation, random.uniform(0.1, 0.6)))


def low_light(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    """A night photo: strong noise in the shadows, blotches of colour, few bits, brightened."""
    shape = pixels.shape
    fine = _mixed(
        _unit(demosaiced(_drawn(shape[:2], 1, random))),
        _smooth((*shape[:2], 1), random.uniform(*CORRELATED), random),
        random.uniform(0.2, 0.7),
    )
    coarse = _smooth(shape, random.uniform(*BLOTCHES), random)
    coarse -= coarse.mean(-1, keepdims=True)
    drawn = fine + random.uniform(0.2, 0.7) * coarse
    return to_uint8(pixels + drawn * _deviations(pixels, deviation, random.uniform(0.5, 0.9)))


def demosaiced(sites: Plane) -> Plane:
    """One value per site [H, W] to three colours [H, W, 3] by bilinear interpolation."""
    height, width = sites.shape
    colour = np.tile(_CELL, (height // 2 + 1, width // 2 + 1))[:height, :width]
    planes = []
    for index in range(3):
        kernel = _BILINEAR_GREEN if index == 1 else _BILINEAR
        known: Plane = np.where(colour == index, sites, np.float32(0))[..., None]
        planes.append(convolved(known, kernel)[..., 0])
    return np.stack(planes, -1)


def _deviations(pixels: Pixels, deviation: float, constant: float) -> Plane:
    """The deviation at every pixel of a camera's photo, `deviation` at middle grey.

    In linear light its square is read noise (a share of `constant`) plus shot noise; the camera's
    gamma then brightens the shadows and their noise, and flattens the highlights.
    """
    light = _light(pixels)
    square = constant + (1 - constant) * light**GAMMA
    lifted = np.minimum(light ** (1 - GAMMA), MOST_LIFTED)
    return np.asarray(deviation * np.sqrt(square) * lifted, np.float32)


def _light(pixels: Pixels) -> Plane:
    """1 at middle grey, never 0."""
    return np.asarray((pixels.mean(-1, keepdims=True, dtype=np.float32) + 2) / 130, np.float32)


def _drawn(shape: tuple[int, ...], deviation: float, random: Random) -> Plane:
    drawn: Plane = random.standard_normal(shape, np.float32)
    return drawn * np.float32(deviation)


def _smooth(shape: tuple[int, ...], sigma: float, random: Random) -> Plane:
    """Noise smoothed over `sigma` pixels, scaled to deviation 1 again."""
    drawn = _drawn(shape, 1, random)
    return _unit(convolved(drawn, gaussian_kernel(sigma, sigma)))


def _unit(values: Plane) -> Plane:
    return np.asarray(values / (values.std() or 1), np.float32)


def _mixed(first: Plane, second: Plane, share: float) -> Plane:
    """Independent parts whose squares add to 1."""
    return np.asarray(np.sqrt(1 - share) * first + np.sqrt(share) * second, np.float32)
