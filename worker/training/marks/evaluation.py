"""What the watermark network finds on photos, fonts and logos that its training never saw.

Owns the threshold, precision, recall and the curve. Every picture is a pair of the engine's own;
marks are laid on the enhanced one.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.guards.marks import MarkDetector
from worker.training.marks.enhancing import Pair, middle
from worker.training.marks.examples import seen_cells
from worker.training.marks.laying import KINDS, OPACITY, draw_layer
from worker.training.marks.pairs import imitate
from worker.training.marks.recipe import MarksRecipe
from worker.training.marks.stencils import Palette
from worker.training.photos import Photo, Pixels

OPACITY_BANDS = ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8))
IMITATED_SIDE = 448
CURVE_RATES = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Marked:
    """The score of one marked picture, and what was laid on it."""

    score: float
    kind: str
    opacity: float
    visible: bool


@dataclass(frozen=True)
class Clean:
    """Enhanced pictures without a mark: by the engine itself, and imitated ones, larger."""

    engine: list[Pair]
    imitated: list[Pair]


def imitate_all(photos: list[Photo], variants: int) -> list[Pair]:
    """Every photo's middle, damaged and restored in imitation, in `variants` ways."""
    random = np.random.default_rng(len(photos))
    squares = [middle(photo.pixels, IMITATED_SIDE) for photo in photos for _ in range(variants)]
    return [imitate(square, random) for square in squares]


def evaluate(
    recipe: MarksRecipe, model: Path, calibration: list[Pair], clean: Clean, palette: Palette
) -> dict[str, Any]:
    """Every figure of the model card, by name."""
    detector, dice = MarkDetector(model), random.Random(recipe.seed + 1)
    threshold = float(np.quantile(scores(detector, calibration), 1 - recipe.false_alarms))
    quiet = scores(detector, clean.engine), scores(detector, clean.imitated)
    pairs = clean.engine + clean.imitated
    already = scores(detector, [_on_both(pair, palette, dice) for pair in pairs])
    marked = list(_marked(detector, pairs, palette, dice))
    return {
        "threshold": round(threshold, 4),
        "false_alarms": {
            "by_engine": _share(quiet[0], threshold),
            "imitated": _share(quiet[1], threshold),
            "mark_in_input": _share(already, threshold),
        },
        **_recall(marked, threshold),
        "curve": curve(np.concatenate(quiet), np.array([m.score for m in marked if m.visible])),
        "precision_where_one_in_ten_is_marked": _precision(quiet, marked, threshold),
    }


def _recall(marked: list[Marked], threshold: float) -> dict[str, Any]:
    seen = [m for m in marked if m.visible]
    by_kind = {kind: [m for m in seen if m.kind == kind] for kind in KINDS}
    by_opacity = {
        f"{low}-{high}": [m for m in seen if low <= m.opacity < high] for low, high in OPACITY_BANDS
    }
    return {
        "recall": _share([m.score for m in seen], threshold),
        "recall_with_too_faint_to_see": _share([m.score for m in marked], threshold),
        "recall_by_kind": {k: rate([m.score for m in v], threshold) for k, v in by_kind.items()},
        "recall_by_opacity": {
            k: rate([m.score for m in v], threshold) for k, v in by_opacity.items()
        },
    }


def _precision(
    quiet: Iterable[NDArray[np.float64]], marked: list[Marked], threshold: float
) -> float:
    false = rate(np.concatenate(list(quiet)), threshold)
    found = rate([m.score for m in marked if m.visible], threshold)
    return round(0.1 * found / max(1e-9, 0.1 * found + 0.9 * false), 4)


def _share(values: Iterable[float], threshold: float) -> dict[str, float]:
    known = list(values)
    return {"pictures": len(known), "share": rate(known, threshold)}


def scores(detector: MarkDetector, pairs: Iterable[Pair]) -> NDArray[np.float64]:
    """The network's score of every pair."""
    return np.array([detector.score(given, output) for given, output in pairs])


def size(pixels: Pixels) -> tuple[int, int]:
    """Height and width."""
    return pixels.shape[0], pixels.shape[1]


def rate(values: Iterable[float], threshold: float) -> float:
    """The share at or above the threshold."""
    return round(float((np.asarray(list(values)) >= threshold).mean()), 4)


def curve(clean: NDArray[np.float64], marked: NDArray[np.float64]) -> list[dict[str, float]]:
    """Recall at thresholds that give these false-alarm rates on the same clean pictures."""
    points = []
    for allowed in CURVE_RATES:
        threshold = float(np.nextafter(np.quantile(clean, 1 - allowed), 2))
        false, recall = rate(clean, threshold), rate(marked, threshold)
        points.append({"threshold": round(threshold, 4), "false_alarms": false, "recall": recall})
    return points


def _marked(
    detector: MarkDetector, pairs: list[Pair], palette: Palette, dice: random.Random
) -> Iterable[Marked]:
    for given, output in pairs:
        kind, opacity = dice.choice(KINDS), dice.uniform(*OPACITY)
        layer = draw_layer(size(output), kind, opacity, palette, dice)
        marked = layer.over(output)
        visible = bool((seen_cells(output, marked, layer) == 1).any())
        yield Marked(detector.score(given, marked), kind, opacity, visible)


def _on_both(pair: Pair, palette: Palette, dice: random.Random) -> Pair:
    """A mark that the input has already: laid on both, a little fainter on the output."""
    given, output = pair
    opacity = dice.uniform(*OPACITY)
    layer = draw_layer(size(output), dice.choice(KINDS), opacity, palette, dice)
    on_input = layer.over(given)
    layer.opacity *= dice.uniform(0.85, 1.0)
    return on_input, layer.over(output)
