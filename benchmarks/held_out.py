"""The photos on which quality is measured; they are never used for training or tuning models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from skimage import data
from sklearn.datasets import load_sample_images

from benchmarks.contact_sheet import middle
from worker.training.damage import RANGES, Kind, Pixels, degrade

MAX_SIDE = 384
MOTORCYCLE = "motorcycle"
NAMES = ("astronaut", "camera", "chelsea", "coffee", "rocket")


@dataclass(frozen=True)
class Case:
    """All photos with one kind of damage at one level, in the unit of the kind."""

    kind: Kind | None
    level: float
    clean: list[Pixels]
    damaged: list[Pixels]

    @property
    def is_middle(self) -> bool:
        return self.kind is not None and self.level == RANGES[self.kind].middle

    @property
    def label(self) -> str:
        return "clean" if self.kind is None else f"{self.kind} {self.level:g}"


def held_out_photos() -> dict[str, Pixels]:
    """Sample photos of scikit-image and scikit-learn, their centres, at most 384 pixels a side."""
    names = [*NAMES, MOTORCYCLE, *(_stem(path) for path in load_sample_images().filenames)]
    return {name: middle(sample_photo(name), MAX_SIDE) for name in names}


def sample_photo(name: str) -> Pixels:
    """A sample photo of scikit-image or scikit-learn by its name, in colours and whole."""
    if name == MOTORCYCLE:
        return np.asarray(data.stereo_motorcycle()[0])
    samples = load_sample_images()
    for path, picture in zip(samples.filenames, samples.images, strict=True):
        if _stem(path) == name:
            return np.asarray(picture)
    picture = np.asarray(getattr(data, name)())
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture[..., :3]


def part_around(picture: Pixels, y: float, x: float, side: int) -> Pixels:
    """A part of at most `side` pixels a side, in multiples of 16, around a point that is given in
    shares of the picture.
    """
    high, wide = (min(side, length // 16 * 16) for length in picture.shape[:2])
    top = int(np.clip(picture.shape[0] * y - high / 2, 0, picture.shape[0] - high))
    left = int(np.clip(picture.shape[1] * x - wide / 2, 0, picture.shape[1] - wide))
    return np.ascontiguousarray(picture[top : top + high, left : left + wide])


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".jpg")


def cases(photos: list[Pixels], levels: int, kinds: Sequence[Kind]) -> list[Case]:
    """The undamaged photos, then each of `kinds` at `levels` levels over its measured range."""
    found = [Case(None, 0, photos, photos)]
    for kind in kinds:
        span = RANGES[kind]
        low, high = span.measured
        spread = [span.middle] if levels == 1 else np.linspace(low, high, levels).tolist()
        found += [_case(photos, kind, float(level)) for level in spread]
    return found


def _case(photos: list[Pixels], kind: Kind, level: float) -> Case:
    random = np.random.default_rng(0)
    return Case(kind, level, photos, [degrade(photo, kind, level, random) for photo in photos])
