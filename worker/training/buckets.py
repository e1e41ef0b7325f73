"""Whole photos for a style's batches, all of a batch in one size: buckets by aspect.

A square crop would cut heads and feet off portraits, and teach that. Owns the aspects and sizes.
"""

from collections import defaultdict
from math import log

import numpy as np
from PIL import Image

from worker.training.photos import Photo, Pixels

# Width by height; a longer photo loses its ends.
ASPECTS = (1 / 2, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0)
MULTIPLE = 16


class Buckets:
    """A folder's photos by aspect; sizes have the area of a square with `crop` pixels a side."""

    def __init__(self, photos: list[Photo], crop: int) -> None:
        self._photos = photos
        self._crop = crop
        self._by_aspect: dict[float, list[Photo]] = defaultdict(list)
        for photo in photos:
            self._by_aspect[aspect_of(photo.pixels)].append(photo)

    def draw(self, count: int, random: np.random.Generator) -> list[Photo]:
        """Photos of one aspect, randomly mirrored, never rotated; each is drawn equally often."""
        aspect = aspect_of(self._photos[int(random.integers(len(self._photos)))].pixels)
        alike, size = self._by_aspect[aspect], size_of(aspect, self._crop)
        chosen = random.integers(len(alike), size=count)
        return [_fitted(alike[int(index)], size, random) for index in chosen]


def aspect_of(pixels: Pixels) -> float:
    """The nearest of the aspects, by ratio."""
    height, width = pixels.shape[:2]
    return min(ASPECTS, key=lambda aspect: abs(log(width / height / aspect)))


def size_of(aspect: float, crop: int) -> tuple[int, int]:
    """Height and width of a bucket."""
    sides = (crop / aspect**0.5, crop * aspect**0.5)
    height, width = (max(1, round(side / MULTIPLE)) * MULTIPLE for side in sides)
    return height, width


def _fitted(photo: Photo, size: tuple[int, int], random: np.random.Generator) -> Photo:
    """The photo scaled so that it just covers the size, and cut at a random place."""
    height, width = photo.pixels.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    scaled = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    picture = Image.fromarray(photo.pixels).resize(scaled[::-1], Image.Resampling.LANCZOS)
    top, left = (int(random.integers(a - b + 1)) for a, b in zip(scaled, size, strict=True))
    cut = np.asarray(picture)[top : top + size[0], left : left + size[1]]
    if random.random() < 0.5:
        cut = cut[:, ::-1]
    return Photo(photo.name, np.ascontiguousarray(cut), photo.caption)
