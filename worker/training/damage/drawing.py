"""The damage of one training pair: one of the treated kinds, usually with mild other damage.

Owns the shares. A real photo hardly ever has only one sort of damage, and many have none.
"""

from collections.abc import Sequence

import numpy as np

from worker.training.damage.chains import mild_company
from worker.training.damage.pixels import Pixels
from worker.training.damage.sorts import Kind, sorts_of

ALONE_SHARE = 0.3
UNDAMAGED_SHARE = 0.1
# How often a kind is drawn relative to others: as often as it occurs in people's photos.
OFTEN: dict[Kind, float] = {"noise": 4, "phone": 3.5, "jpeg": 2, "blur": 1.5, "lowres": 1}


def draw_damage(pixels: Pixels, kinds: Sequence[Kind], random: np.random.Generator) -> Pixels:
    """One of `kinds`, any sort and level of it, mostly with mild other damage; sometimes
    nothing.
    """
    if random.random() < UNDAMAGED_SHARE:
        return pixels
    kind = kinds[_drawn([OFTEN[kind] for kind in kinds], random)]
    sorts = sorts_of(kind)
    sort = sorts[_drawn([sort.often for sort in sorts], random)]
    damaged = sort.make(pixels, sort.range.draw(random), random)
    alone = sort.kind == "phone" or random.random() < ALONE_SHARE
    return damaged if alone else mild_company(damaged, random)


def _drawn(often: list[float], random: np.random.Generator) -> int:
    shares = np.array(often)
    return int(random.choice(len(often), p=shares / shares.sum()))
