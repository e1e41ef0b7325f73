"""Damage as cameras and chat applications cause it, shared by trainer, calibration and benchmarks.

Read in this order: pixels, blurring, noise, compression, scaling (one sort of damage each), chains
(several sorts in their usual order), sorts (the catalogue: unit and range of each), drawing (the
damage of a training pair). Every function takes and returns uint8 [H, W, 3] and uses only the
random generator that it is given. Knows nothing of models.
"""

from worker.training.damage.drawing import draw_damage
from worker.training.damage.pixels import Pixels
from worker.training.damage.sorts import (
    KINDS,
    RANGES,
    SORTS,
    Kind,
    Range,
    Sort,
    degrade,
    draw_level,
    sorts_of,
)

__all__ = [
    "KINDS",
    "RANGES",
    "SORTS",
    "Kind",
    "Pixels",
    "Range",
    "Sort",
    "degrade",
    "draw_damage",
    "draw_level",
    "sorts_of",
]
