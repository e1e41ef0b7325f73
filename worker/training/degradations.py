"""Damages photos the way cameras and chat applications do, at a level that is drawn or given.

Owns the kinds of damage, their parameters and ranges. Knows nothing of models. Every function takes
and gives uint8 [H, W, 3] and draws from the generator that it is handed, nothing else.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

Pixels = NDArray[np.uint8]
Kind = Literal["noise", "blur", "jpeg", "lowres", "phone"]


@dataclass(frozen=True)
class Range:
    """What the level of a kind means, the span it is measured on and the span it is trained on."""

    unit: str
    measured: tuple[float, float]
    trained: tuple[float, float]

    @property
    def middle(self) -> float:
        return sum(self.measured) / 2


RANGES: dict[Kind, Range] = {
    "noise": Range("standard deviation, of 255", (8, 30), (5, 36)),
    "blur": Range("Gaussian sigma, pixels", (1, 2.5), (0.8, 2.8)),
    "jpeg": Range("quality", (10, 40), (8, 55)),
    "lowres": Range("times smaller", (2, 4), (1.7, 4.3)),
    "phone": Range("strength of the chain", (0.5, 1.5), (0.4, 1.6)),
}

KINDS: tuple[Kind, ...] = tuple(RANGES)


def degrade(pixels: Pixels, kind: Kind, level: float, random: np.random.Generator) -> Pixels:
    """One kind of damage at `level`, in the unit that RANGES gives for it."""
    return _DAMAGES[kind](pixels, level, random)


def draw_level(kind: Kind, random: np.random.Generator) -> float:
    """A level from the trained range: even in the logarithm, as the eye sees steps of damage."""
    low, high = RANGES[kind].trained
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def add_noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """White Gaussian noise of `deviation` grey levels."""
    return _to_uint8(pixels + random.normal(0, deviation, pixels.shape))


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """A Gaussian of `sigma` pixels, cut at 4 sigma; edges are mirrored."""
    radius = max(1, round(4 * sigma))
    height, width = pixels.shape[:2]
    radius = min(radius, height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    across = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
    picture = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float()
    padded = functional.pad(picture, (radius,) * 4, mode="reflect")
    blurred = functional.conv2d(
        functional.conv2d(padded, across, groups=3), across.transpose(2, 3), groups=3
    )
    return _to_uint8(blurred[0].permute(1, 2, 0).numpy())


def compress(pixels: Pixels, quality: float) -> Pixels:
    """JPEG at `quality`, 4:2:0 chroma, as phones and chat applications write it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=round(quality))
    with Image.open(buffer) as opened:
        return np.asarray(opened.convert("RGB"))


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Bicubic with antialiasing where it shrinks."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def lower_resolution(pixels: Pixels, factor: float) -> Pixels:
    """Shrunk `factor` times and brought back to size, both bicubic."""
    height, width = pixels.shape[:2]
    small = resize(pixels, max(1, round(width / factor)), max(1, round(height / factor)))
    return resize(small, width, height)


def phone(pixels: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """What a phone and a chat application do to a portrait: blur, half size, noise, JPEG.

    At strength 1: Gaussian 0.8, half size, noise 6, JPEG 40; all grow and shrink with it.
    """
    height, width = pixels.shape[:2]
    factor = 1 + strength
    soft = blur(pixels, 0.8 * strength)
    small = resize(soft, max(1, round(width / factor)), max(1, round(height / factor)))
    sent = compress(add_noise(small, 6 * strength, random), min(95, 40 / strength))
    return resize(sent, width, height)


def _to_uint8(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


_DAMAGES: dict[Kind, Callable[[Pixels, float, np.random.Generator], Pixels]] = {
    "noise": add_noise,
    "blur": lambda pixels, level, _random: blur(pixels, level),
    "jpeg": lambda pixels, level, _random: compress(pixels, level),
    "lowres": lambda pixels, level, _random: lower_resolution(pixels, level),
    "phone": phone,
}
