"""What each shipped LoRA is expected to do for a photo, from how much it did for others.

Owns the estimate. benchmarks/calibrate_treatments.py damaged training photos in every way that
worker/training/damage knows, ran each LoRA at several strengths, and fitted the network in
treatment_gains.json to the gains.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.loras.entry import LoraEntry, LoraState

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


@dataclass(frozen=True)
class _Known:
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    weights: list[NDArray[np.float64]]
    biases: list[NDArray[np.float64]]
    # One for each gain.
    tried: list[Tried]


@cache
def _known() -> _Known:
    stored = json.loads(GAINS.read_text("utf-8"))
    return _Known(
        np.array(stored["mean"]),
        np.array(stored["deviation"]),
        [np.array(layer) for layer in stored["weights"]],
        [np.array(layer) for layer in stored["biases"]],
        [Tried(**one) for one in stored["tried"]],
    )


def calibrated() -> set[str]:
    """The SHA-256 of every LoRA file whose gains are known."""
    return {one.sha256 for one in _known().tried}


def best_treatment(measures: NDArray[np.float64], entries: Sequence[LoraEntry]) -> Treatment | None:
    """The available treatment that promises the largest gain for a photo with these measures.

    None where the gains of no available LoRA are known: only the very files that were tried count.
    """
    return max(_offered(measures, entries), key=lambda one: one.gain, default=None)


def _offered(measures: NDArray[np.float64], entries: Sequence[LoraEntry]) -> Iterator[Treatment]:
    available = {one.sha256: one for one in entries if one.state is LoraState.AVAILABLE}
    if available.keys().isdisjoint(calibrated()):
        return
    for tried, gain in zip(_known().tried, _gains(measures), strict=True):
        if (entry := available.get(tried.sha256)) is not None:
            yield Treatment(entry, tried.strength, tried.levels, float(gain))


def _gains(measures: NDArray[np.float64]) -> NDArray[np.float64]:
    known = _known()
    layer = (measures - known.mean) / known.deviation
    for weights, biases in zip(known.weights[:-1], known.biases[:-1], strict=True):
        layer = np.maximum(layer @ weights + biases, 0)
    return np.asarray(layer @ known.weights[-1] + known.biases[-1])
