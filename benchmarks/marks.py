"""The watermark guard on what the service makes of photos that no training saw.

    python -m benchmarks.marks [--results 1000] [--write]

Parts of 256 to 384 pixels of `unseen_photos` with every sort of damage, enhanced with `auto` and
with each LoRA at several strengths, as they are before they are enlarged. Each is scored as it is,
and again with a mark drawn on it, in fonts and logos that were not trained on. `--write` puts the
curve, and the upper bar chosen by it, into models/watermark/evaluation.json, and the curve's
picture into docs/marks.png. Pictures are kept in `--work`, so that only what new weights change is
made again.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.pages import ROOT
from benchmarks.unseen_photos import unseen_photos
from worker.guards.marks import FOLDER, MarkDetector
from worker.training.damage import SORTS, Pixels
from worker.training.marks.enhancing import Pair
from worker.training.marks.evaluation import curve, rate
from worker.training.marks.examples import seen_cells
from worker.training.marks.laying import KINDS, OPACITY, draw_layer
from worker.training.marks.material import held_out_marks
from worker.training.marks.recipe import read_recipe
from worker.training.marks.stencils import Palette
from worker.training.restorer import Restorer

SIDES = (256, 256, 256, 256, 256, 256, 320, 384)
STRENGTHS = (None, None, None, 0.1, 0.2, 0.4, 1.0)
AUTO_SHARE, CLEAN_SHARE = 0.4, 0.05
CURVE = ROOT / "docs" / "marks.png"
FALSE_REFUSALS = 0.001
# Scores are rounded to four digits.
MARGIN = 0.0001
SAY_EVERY, WORST = 50, 20


@dataclass(frozen=True)
class Case:
    """One result: whose part, what was done to it, and how it is enhanced."""

    photo: str
    sort: str | None
    level: float
    lora: str
    strength: float | None


@dataclass(frozen=True)
class Scored:
    """A result's score as it is, and with a mark drawn on it."""

    case: Case
    clean: float
    kind: str
    opacity: float
    marked: float
    is_visible: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=ROOT / "var" / "marks")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    photos = unseen_photos(options.work / "packages")
    palette = held_out_marks(read_recipe(FOLDER / "recipe.toml"), options.work)
    detector = MarkDetector(FOLDER / "marks.onnx")
    scored: list[Scored] = []
    for number, (case, pair) in enumerate(results(photos, options.results, options.work)):
        scored.append(score(detector, case, pair, palette, random.Random(number)))
        if number % SAY_EVERY == 0:
            print(number, scored[-1], flush=True)
    for one in sorted(scored, key=lambda one: -one.clean)[:WORST]:
        print(f"{one.clean:.3f} {one.case}")
    evaluation = FOLDER / "evaluation.json"
    known = json.loads(evaluation.read_text("utf-8"))
    known["results"] = report(scored, known["thresholds"], len(photos))
    print(json.dumps(known["results"], indent=1))
    if options.write:
        evaluation.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
        draw(scored, known["thresholds"])


def score(
    detector: MarkDetector, case: Case, pair: Pair, palette: Palette, dice: random.Random
) -> Scored:
    """The result's score, and its score with a mark of any kind."""
    given, output = pair
    kind, opacity = dice.choice(KINDS), dice.uniform(*OPACITY)
    layer = draw_layer((output.shape[0], output.shape[1]), kind, opacity, palette, dice)
    marked = layer.over(output)
    is_visible = bool((seen_cells(output, marked, layer) == 1).any())
    return Scored(
        case,
        detector.score(given, output),
        kind,
        opacity,
        detector.score(given, marked),
        is_visible,
    )


def report(scored: list[Scored], bars: dict[str, float], photos: int) -> dict[str, Any]:
    """What evaluation.json says of these results; sets the upper bar in `bars`."""
    clean = np.array([one.clean for one in scored])
    seen = [one for one in scored if one.is_visible]
    found = np.array([one.marked for one in seen])
    bars["embedded_sure"] = round(upper_bar(clean, bars["embedded"]), 4)
    likely, sure = bars["embedded"], bars["embedded_sure"]
    return {
        "pictures": len(scored),
        "photos": photos,
        "flagged": rate(clean, likely),
        "refused": rate(clean, sure),
        "marks": len(found),
        "recall_flagged": rate(found, likely),
        "recall_refused": rate(found, sure),
        "recall_refused_by_kind": {
            kind: rate([one.marked for one in seen if one.kind == kind], sure) for kind in KINDS
        },
        "curve": curve(clean, found),
    }


def draw(scored: list[Scored], bars: dict[str, float]) -> None:
    """The shares of clean and of marked results above each score, and the two bars."""
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    levels = np.linspace(0, 1, 501)
    seen = [one.marked for one in scored if one.is_visible]
    for label, values in (("without a mark", [one.clean for one in scored]), ("marked", seen)):
        axes.plot(levels, [100 * rate(values, level) for level in levels], label=label)
    for name in ("embedded", "embedded_sure"):
        axes.axvline(bars[name], color="grey", linestyle=":")
    axes.set_xlabel("score")
    axes.set_ylabel("results with at least this score, %")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(CURVE, dpi=110)
    plt.close(figure)


def upper_bar(clean: NDArray[np.float64], least: float) -> float:
    """The lowest score that at most FALSE_REFUSALS of these clean results reach."""
    allowed = int(len(clean) * FALSE_REFUSALS)
    highest = np.sort(clean)[::-1][allowed]
    return max(least, float(np.nextafter(highest, 2)) + MARGIN)


def results(photos: dict[str, Pixels], count: int, work: Path) -> Iterator[tuple[Case, Pair]]:
    """The same cases in every run, each with its input and output."""
    restorer = Restorer(ROOT / "models" / "tiny", ROOT / "loras", work / "made")
    names = sorted(photos)
    try:
        for number in range(count):
            draw = np.random.default_rng(number)
            case = draw_case(names[number % len(names)], restorer.names(), draw)
            given = damaged(part(photos[case.photo], draw), case, draw)
            yield case, (given, restorer.unenlarged(given, case.lora, case.strength))
    finally:
        restorer.close()


def draw_case(photo: str, loras: list[str], draw: np.random.Generator) -> Case:
    """What is done to a part of this photo."""
    sort = SORTS[str(draw.choice(list(SORTS)))]
    level = sort.range.draw(draw)
    harmed = draw.random() >= CLEAN_SHARE
    lora = "auto" if draw.random() < AUTO_SHARE else str(draw.choice(loras))
    strength = None if lora == "auto" else STRENGTHS[draw.integers(len(STRENGTHS))]
    return Case(photo, sort.name if harmed else None, level, lora, strength)


def part(photo: Pixels, draw: np.random.Generator) -> Pixels:
    """A random square of the photo, in multiples of 16."""
    side = min(int(draw.choice(SIDES)), *(length // 16 * 16 for length in photo.shape[:2]))
    top, left = (int(draw.integers(length - side + 1)) for length in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def damaged(clean: Pixels, case: Case, draw: np.random.Generator) -> Pixels:
    """The part as somebody would send it."""
    return clean if case.sort is None else SORTS[case.sort].make(clean, case.level, draw)


if __name__ == "__main__":
    main()
