"""The photos on which quality is measured; they are never used for training or tuning models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from skimage import data
from sklearn.datasets import load_sample_images

from worker.training.damage import RANGES, Kind, Pixels, degrade

MAX_SIDE = 384
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
    found = {name: np.asarray(getattr(data, name)()) for name in NAMES}
    left, _, _ = data.stereo_motorcycle()
    found["motorcycle"] = np.asarray(left)
    samples = load_sample_images()
    for path, picture in zip(samples.filenames, samples.images, strict=True):
        found[path.rsplit("/", 1)[-1].removesuffix(".jpg")] = np.asarray(picture)
    return {name: _middle(_coloured(picture)) for name, picture in found.items()}


def _coloured(picture: Pixels) -> Pixels:
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture[..., :3]


def _middle(picture: Pixels) -> Pixels:
    top, left = (max(0, (side - MAX_SIDE) // 2) for side in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + MAX_SIDE, left : left + MAX_SIDE])


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
