"""Damage as cameras and chat applications make it: trainer, calibration and benchmarks share it.

Read in this order: pixels, blurring, noise, compression, scaling (one sort of damage each), chains
(several in the order in which they happen), sorts (the catalogue: unit and range of each), drawing
(what a training pair gets). Every function takes and gives uint8 [H, W, 3] and draws from the
generator that it is handed, nothing else. Knows nothing of models.
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
