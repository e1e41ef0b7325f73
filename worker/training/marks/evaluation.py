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
from worker.training.marks.enhancing import Pair
from worker.training.marks.examples import seen_cells
from worker.training.marks.laying import KINDS, OPACITY, draw_layer
from worker.training.marks.material import Material
from worker.training.marks.recipe import MarksRecipe
from worker.training.marks.stencils import Palette
from worker.training.photos import Pixels

OPACITY_BANDS = ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8))
CURVE_RATES = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Marked:
    """The score of one marked picture, and what was laid on it."""

    score: float
    kind: str
    opacity: float
    visible: bool


def evaluate(
    recipe: MarksRecipe, model: Path, calibration: list[Pair], held_out: list[Pair], all_: Material
) -> dict[str, Any]:
    """Every figure of the model card, by name."""
    detector, dice = MarkDetector(model), random.Random(recipe.seed + 1)
    quiet = scores(detector, calibration)
    threshold = float(np.quantile(quiet, 1 - recipe.false_alarms))
    clean = scores(detector, held_out)
    already = scores(detector, [_on_both(pair, all_.held_out, dice) for pair in held_out])
    marked = list(_marked(detector, held_out, all_.held_out, dice))
    found = [m for m in marked if m.visible]
    false, hits = int((clean >= threshold).sum()), sum(m.score >= threshold for m in found)
    return {
        "threshold": round(threshold, 4),
        "clean_pictures": len(clean),
        "false_alarm_rate": rate(clean, threshold),
        "false_alarm_rate_mark_in_input": rate(already, threshold),
        "marked_pictures": len(found),
        "too_faint_to_see": len(marked) - len(found),
        "recall": rate([m.score for m in found], threshold),
        "recall_with_too_faint": rate([m.score for m in marked], threshold),
        "precision_at_equal_numbers": round(hits / max(1, hits + false), 4),
        "recall_by_kind": {
            kind: rate([m.score for m in found if m.kind == kind], threshold) for kind in KINDS
        },
        "recall_by_opacity": {
            f"{low}-{high}": rate([m.score for m in found if low <= m.opacity < high], threshold)
            for low, high in OPACITY_BANDS
        },
        "curve": curve(clean, np.array([m.score for m in found])),
    }


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
