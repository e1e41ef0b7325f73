"""How similar pictures are, reported beside every speed: making other pictures quickly is no
gain.
"""

import io
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from worker.engine.interface import Pixels
from worker.training import metrics


def psnr(one: Pixels, other: Pixels) -> float:
    """In dB; infinite for equal pictures."""
    return math.inf if np.array_equal(one, other) else metrics.psnr(one, other)


def least_psnr(pictures: Iterable[Pixels], expected: Iterable[Pixels]) -> float:
    """The PSNR of the picture that differs most from its reference."""
    return min(psnr(*pair) for pair in zip(pictures, expected, strict=True))


def in_words(decibels: float) -> str:
    return "equal" if math.isinf(decibels) else f"{decibels:.1f}"


def decoded(picture: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
