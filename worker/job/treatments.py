"""What each shipped LoRA is expected to do for a photo, from how much it did for others.

Owns the estimate. benchmarks/calibrate_treatments.py damaged training photos in every way that
worker/training/damage knows, ran each LoRA at several strengths, and fitted the network in
treatment_gains.json to the gains.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from shared.loras.entry import LoraEntry, LoraState
from worker.engine.interface import Pixels
from worker.job.damage_measures import COLOUR_MEASURES, is_white_noise, measure_colours
from worker.job.small_forest import SmallForest, read_forest
from worker.job.small_network import Floats

WHITE_NOISE = "white_noise"
# A LoRA that works on a smaller photo draws clean edges. Where a photo keeps this many decibels
# when it is shrunk, such a LoRA loses nothing, and is preferred at these strengths if it promises
# at most so much less than the best: the trees undervalue it, since most photos lose much by it.
# Of 680 examples left out of the fit that is the case for 57; their mean gain is 2.30 dB instead
# of 2.19, six instead of four get worse by half a decibel, and nine of ten that were looked at are
# crisper.
KEEPS_ALL = 47.0
REDRAWN_AT_LEAST = 0.5
MOST_GIVEN_UP = 2.5
GAINS = Path(__file__).with_name("treatment_gains.json")


@dataclass(frozen=True)
class Treatment:
    """A LoRA at a strength and a number of sizes, and the gain that is expected of it.

    The gain is in decibels as benchmarks/eye.py weighs them.
    """

    entry: LoraEntry
    strength: float
    levels: int
    gain: float


@dataclass(frozen=True)
class Tried:
    """What was tried for the calibration: the SHA-256 of a LoRA's file, a strength, levels."""

    sha256: str
    strength: float
    levels: int


@cache
def _known() -> tuple[SmallForest, list[Tried]]:
    forest = read_forest(GAINS)
    return forest, [Tried(**one) for one in forest.rest["tried"]]


def calibrated() -> set[str]:
    """The SHA-256 of every LoRA file whose gains are known."""
    _, tried = _known()
    return {one.sha256 for one in tried}


def sort_of_damage(kind: str, measures: Floats) -> str:
    """The kind of damage that was found, or `white_noise`; `measures` are `treatment_measures`."""
    own, colours = np.split(measures, [-COLOUR_MEASURES])
    return WHITE_NOISE if kind == "noise" and is_white_noise(own, colours) else kind


def usual_treatment(sort: str, entries: Sequence[LoraEntry]) -> Treatment | None:
    """The treatment that gained most where this sort of damage was certain, if it is available.

    None for a sort for which what is promised for the very photo gained more.
    """
    forest, tried = _known()
    usual = forest.rest["usual"].get(sort)
    if usual is None:
        return None
    one = tried[usual["tried"]]
    entry = _available(entries).get(one.sha256)
    return Treatment(entry, one.strength, one.levels, usual["gain"]) if entry else None


def treatment_measures(pixels: Pixels, measures: Floats) -> Floats:
    """What the gains are estimated from, for a photo (uint8 [H, W, 3]) and its `measure`."""
    return np.concatenate([measures, measure_colours(pixels)])


def best_treatment(
    measures: Floats, entries: Sequence[LoraEntry], kept: Callable[[float], float]
) -> Treatment | None:
    """The available treatment that promises the largest gain for a photo with these measures, or a
    redrawing that promises nearly as much, with that gain; `kept` is the photo's
    `kept_when_shrunk`.

    None where the gains of no available LoRA are known: only the very files that were tried count.
    """
    offered = list(_offered(measures, entries))
    best = max(offered, key=_gain, default=None)
    redrawn = max(filter(_redraws, offered), key=_gain, default=None)
    if best is None or redrawn is None or redrawn.gain < best.gain - MOST_GIVEN_UP:
        return best
    loses_nothing = kept(redrawn.entry.shrink) >= KEEPS_ALL
    return replace(redrawn, gain=best.gain) if loses_nothing else best


def _gain(one: Treatment) -> float:
    return one.gain


def _redraws(one: Treatment) -> bool:
    return one.entry.shrink < 1 and one.strength >= REDRAWN_AT_LEAST


def _offered(measures: Floats, entries: Sequence[LoraEntry]) -> Iterator[Treatment]:
    available = _available(entries)
    if available.keys().isdisjoint(calibrated()):
        return
    forest, tried = _known()
    for one, gain in zip(tried, forest.outputs(measures), strict=True):
        if (entry := available.get(one.sha256)) is not None:
            yield Treatment(entry, one.strength, one.levels, float(gain))


def _available(entries: Sequence[LoraEntry]) -> dict[str, LoraEntry]:
    """The available ones by the SHA-256 of their files."""
    return {one.sha256: one for one in entries if one.state is LoraState.AVAILABLE}
