"""Pictures before and after an enhancement that adds no mark.

Real ones come from the engine (enhancing.py). Here they are imitated, since a network that must
distinguish marks from any change by a model needs more kinds of change than one model makes.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.training.damage import KINDS, RANGES, Pixels, degrade

Plane = NDArray[np.float32]


def imitate(clean: Pixels, random: np.random.Generator) -> tuple[Pixels, Pixels]:
    """(input, output) from one undamaged picture: damage, and how a model might have repaired
    it.
    """
    given = _damaged(clean, random)
    restored = random.beta(2, 1)
    output = restored * clean.astype(np.float32) + (1 - restored) * given.astype(np.float32)
    for change, chance in _CHANGES:
        if random.random() < chance:
            output = change(output, random)
    return given, _to_uint8(output)


def _damaged(clean: Pixels, random: np.random.Generator) -> Pixels:
    if random.random() < 0.3:
        return clean
    kind = KINDS[random.integers(len(KINDS))]
    return degrade(clean, kind, float(random.uniform(*RANGES[kind].measured)), random)


def _sharpen(picture: Plane, random: np.random.Generator) -> Plane:
    soft = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.8, 3))
    return picture + random.uniform(0.2, 1.6) * (picture - soft)


def _smooth(picture: Plane, random: np.random.Generator) -> Plane:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.4, 1.2)), np.float32)


def _recolour(picture: Plane, random: np.random.Generator) -> Plane:
    gain = 1 + random.normal(0, 0.05, 3)
    return picture * gain.astype(np.float32) + random.normal(0, 4, 3).astype(np.float32)


def _relight(picture: Plane, random: np.random.Generator) -> Plane:
    """Slow changes of brightness over the picture."""
    coarse = random.normal(0, random.uniform(2, 14), (4, 4, 1)).astype(np.float32)
    height, width = picture.shape[:2]
    return picture + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]


def _retexture(picture: Plane, random: np.random.Generator) -> Plane:
    """Additional detail in areas that already have some."""
    height, width = picture.shape[:2]
    noise = random.normal(0, 1, (height, width, 1)).astype(np.float32)
    fine, wide = random.uniform(0.6, 1.5), random.uniform(2, 4)
    band = cv2.GaussianBlur(noise, (0, 0), fine) - cv2.GaussianBlur(noise, (0, 0), wide)
    luma = picture.mean(2)
    busy = np.sqrt(np.maximum(0, cv2.blur(luma**2, (9, 9)) - cv2.blur(luma, (9, 9)) ** 2))
    scaled = band / (band.std() + 1e-6) * random.uniform(0.1, 0.6)
    return np.asarray(picture + (scaled * busy)[..., None], np.float32)


def _move(picture: Plane, random: np.random.Generator) -> Plane:
    """Slightly displaced contours, as after encoding and decoding."""
    height, width = picture.shape[:2]
    coarse = random.normal(0, random.uniform(0.2, 1.2), (8, 8, 2)).astype(np.float32)
    shift = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    down, right = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(
        picture,
        right + shift[..., 0],
        down + shift[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(moved, np.float32)


def _grain(picture: Plane, random: np.random.Generator) -> Plane:
    return picture + random.normal(0, random.uniform(0.5, 5), picture.shape).astype(np.float32)


_CHANGES = (
    (_move, 0.35),
    (_sharpen, 0.45),
    (_smooth, 0.25),
    (_retexture, 0.35),
    (_recolour, 0.4),
    (_relight, 0.3),
    (_grain, 0.3),
)


def _to_uint8(values: Plane) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
