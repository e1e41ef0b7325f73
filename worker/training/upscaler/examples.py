"""Small pictures and the larger ones that they should become.

Owns how a photo is made small: mildly, as phones, pages and chats do. Heavy damage is left to the
LoRAs, which run before an enlarger.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from worker.training.damage import scaling
from worker.training.damage.blurring import gaussian
from worker.training.damage.compression import jpeg
from worker.training.damage.noise import correlated, white
from worker.training.damage.pixels import Pixels
from worker.training.photos import Photo, random_crop
from worker.training.restoration import to_tensor

LARGEST = 4
FILTERS = (
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
)
CLEAN_SHARE, SOFT_SHARE, NOISY_SHARE, COMPRESSED_SHARE = 0.3, 0.6, 0.4, 0.65
WHITE_SHARE = 0.4
SOFTEST, NOISIEST = 2.2, 6.0
QUALITIES = (40, 96)
# Of what is compressed: at a smaller size, and enlarged again, as from a chat application.
SENT_SHARE, SMALLEST = 0.4, 1.7


@dataclass(frozen=True)
class Batch:
    """[N, 3, H, W] in -1..1: small pictures, and the same pictures twice and four times as
    large.
    """

    small: torch.Tensor
    targets: dict[int, torch.Tensor]


def draw_batch(photos: list[Photo], count: int, side: int, random: np.random.Generator) -> Batch:
    """Crops of photos, shrunk and mildly damaged. Targets are the photos' own pixels."""
    large = [random_crop(photos, side * LARGEST, random).pixels for _ in range(count)]
    small = [damaged(shrunk(pixels, LARGEST, random), random) for pixels in large]
    return Batch(to_tensor(small), targets_of(large))


def targets_of(large: list[Pixels]) -> dict[int, torch.Tensor]:
    """The targets with which the network's outputs at both factors are compared."""
    return {2: to_tensor([halved(pixels) for pixels in large]), LARGEST: to_tensor(large)}


def halved(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return scaling.resized(pixels, width // 2, height // 2, Image.Resampling.LANCZOS)


def shrunk(pixels: Pixels, factor: float, random: np.random.Generator) -> Pixels:
    """Shrunk by a random filter, sometimes after a slight blur."""
    if random.random() < SOFT_SHARE:
        pixels = gaussian(pixels, float(random.uniform(0.2, SOFTEST)) * factor / 2)
    return scaling.shrunk(pixels, factor, FILTERS[int(random.integers(len(FILTERS)))])


def damaged(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Unchanged, or with slight noise and one JPEG compression."""
    if random.random() < CLEAN_SHARE:
        return pixels
    if random.random() < NOISY_SHARE:
        noise = white if random.random() < WHITE_SHARE else correlated
        pixels = noise(pixels, float(random.uniform(1, NOISIEST)), random)
    if random.random() < COMPRESSED_SHARE:
        pixels = compressed(pixels, random)
    return pixels


def compressed(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """One JPEG compression, sometimes at a smaller size."""
    quality = float(random.uniform(*QUALITIES))
    if random.random() >= SENT_SHARE:
        return jpeg(pixels, quality)
    small = scaling.shrunk(pixels, float(random.uniform(1, SMALLEST)))
    return scaling.like(jpeg(small, quality), pixels)
