"""Photos as the LoRAs leave them, and the larger photos that they should become.

Owns how they are made: damaged in every way, then treated as `auto` would, at the size at which the
service enlarges them. An enlarger that has seen none of them takes what is left of blocks and noise
for detail, and sharpens it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from worker.training.damage import KINDS, scaling
from worker.training.damage.drawing import draw_damage
from worker.training.damage.pixels import Pixels
from worker.training.errors import TrainingError
from worker.training.photos import Photo, random_crop
from worker.training.upscaler.examples import LARGEST, shrunk
from worker.training.upscaler.teacher import Answer, read_answers, write_missing

SHARP_SHARE = 0.5

Treat = Callable[[Pixels], Pixels]


def gather_treated(
    photos: list[Photo],
    treat: Treat,
    folder: Path,
    wanted: tuple[int, int, int],
    tell: Callable[[int, int], None],
) -> list[Answer]:
    """`wanted` is (seed, pictures, side). Existing pictures are not made again.

    Raises TrainingError if no photo is large enough.
    """
    seed, pictures, side = wanted
    fitting = [photo for photo in photos if min(photo.pixels.shape[:2]) >= side * LARGEST]
    if not fitting:
        raise TrainingError(f"No photo has {side * LARGEST} pixels on its shorter side.")

    def made(number: int) -> Answer:
        return _made(fitting, treat, side, np.random.default_rng((seed, number)))

    write_missing(folder, range(pictures), made, tell)
    return read_answers(folder)


def _made(photos: list[Photo], treat: Treat, side: int, random: np.random.Generator) -> Answer:
    large = random_crop(photos, side * LARGEST, random).pixels
    is_sharp = random.random() < SHARP_SHARE
    small = scaling.shrunk(large, LARGEST) if is_sharp else shrunk(large, LARGEST, random)
    treated = treat(draw_damage(small, KINDS, random))
    if treated.shape != small.shape:  # by a LoRA that works on smaller photos
        height, width = treated.shape[:2]
        large = scaling.resized(large, width * LARGEST, height * LARGEST)
    return Answer(treated, large)
