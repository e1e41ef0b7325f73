"""Every method of improving a damaged photo, side by side, with its scores.

Owns which methods are compared. benchmarks/quality_tables.py owns the presentation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.classical import FAMILIES, tuned
from benchmarks.held_out import Case
from worker.training.damage import Pixels
from worker.training.restorer import Restorer
from worker.training.validation import Score, score

LORA_OF = {
    "noise": "strong_denoise",
    "blur": "deblur",
    "jpeg": "dejpeg",
    "lowres": "lowres",
    "phone": "face_restore",
}
STRENGTHS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
STRENGTH_SIDE = 192


@dataclass(frozen=True)
class Column:
    """One method's results for the photos of a case: a score each, and the first picture."""

    method: str
    first: Pixels
    scores: list[Score]

    def mean(self, measure: str) -> float:
        return float(np.mean([getattr(one, measure) for one in self.scores]))

    def changes(self, before: "Column") -> list[float]:
        """Gain in PSNR per photo, dB."""
        return [a.psnr - b.psnr for a, b in zip(self.scores, before.scores, strict=True)]


def columns(case: Case, restorer: Restorer, brief: bool) -> list[Column]:
    """Every method on one case; the damaged photos themselves come first.

    `brief` omits filters and the base alone unless the level is the middle one.
    """
    whole = case.is_middle or not brief
    made = [Column("input", case.damaged[0], scored(case.damaged, case.clean))]
    for method, lora in _models(case, whole):
        pictures = [restorer.enhance(picture, lora) for picture in case.damaged]
        made.append(Column(method, pictures[0], scored(pictures, case.clean)))
    if case.kind is not None and whole:
        made += list(_classical(case, case.kind))
    return made


def _models(case: Case, whole: bool) -> Iterator[tuple[str, str]]:
    if whole:
        yield "base", "none"
    if case.kind is not None:
        yield "LoRA", LORA_OF[case.kind]
    yield "auto", "auto"


def _classical(case: Case, kind: str) -> Iterator[Column]:
    for family in FAMILIES:
        found = tuned(kind, family, case.damaged, case.clean)
        name = f"other: {found.name}" if family == "other" else family
        yield Column(name, found.pictures[0], scored(found.pictures, case.clean))


def scored(pictures: list[Pixels], clean: list[Pixels]) -> list[Score]:
    return [score(picture, whole) for picture, whole in zip(pictures, clean, strict=True)]


def strengths(case: Case, restorer: Restorer) -> dict[float, list[float]]:
    """Gain in PSNR per photo by the LoRA that treats `case`, at every strength of the slider."""
    assert case.kind is not None
    pairs = [(_middle(d), _middle(c)) for d, c in zip(case.damaged, case.clean, strict=True)]
    before = scored(*map(list, zip(*pairs, strict=True)))
    return {
        strength: [
            score(restorer.enhance(damaged, LORA_OF[case.kind], strength), clean).psnr - first.psnr
            for (damaged, clean), first in zip(pairs, before, strict=True)
        ]
        for strength in STRENGTHS
    }


def _middle(pixels: Pixels) -> Pixels:
    top, left = (max(0, (side - STRENGTH_SIDE) // 2) for side in pixels.shape[:2])
    cut = pixels[top : top + STRENGTH_SIDE, left : left + STRENGTH_SIDE]
    return np.ascontiguousarray(cut)
