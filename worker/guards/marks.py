"""Visible watermarks that the model added, found by a small network that sees input and output.

models/watermark/README.md says how it was trained and how well it works.
"""

import json
import threading
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime

from shared.settings import REPOSITORY
from worker.guards.finding import Finding
from worker.guards.mark_features import Pixels, prepared, score

FOLDER = REPOSITORY / "models" / "watermark"


class MarkGuard:
    """The loaded network and its two bars: from the lower one on a mark is likely, from the higher
    one on it is certain.

    Bases other than the embedded one change more of a photo, so their bars are higher, and so are
    those of an enlarged result, which is compared only if the enlarger is somebody else's.
    """

    def __init__(self, is_embedded: bool = True, folder: Path = FOLDER) -> None:
        self._detector = mark_detector(folder)
        self._bars = _bars("embedded" if is_embedded else "other", folder)
        self._bars_if_larger = _bars("other", folder)
        self.added(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8))

    def added(self, given: Pixels, output: Pixels) -> list[Finding]:
        """One line with the score if a mark is at least likely."""
        score = self._detector.score(given, output)
        likely, sure = self._bars if output.size <= given.size else self._bars_if_larger
        if score < likely:
            return []
        return [Finding(f"a watermark, {score:.0%} sure", score >= sure)]


@dataclass(frozen=True)
class Known:
    """The score of a pair that may be gone."""

    given: "weakref.ref[Pixels]"
    output: "weakref.ref[Pixels]"
    score: float

    def is_of(self, given: Pixels, output: Pixels) -> bool:
        return self.given() is given and self.output() is output


class MarkDetector:
    """The network, loaded; safe to share between threads. Raises what onnxruntime raises."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self._lock = threading.Lock()
        self._last: Known | None = None

    def score(self, given: Pixels, output: Pixels) -> float:
        """The score, 0 to 1, of a mark that is in `output` and not in `given`.

        The last pair's score is cached, because the text guard asks for the same pair. The pair
        itself is not kept alive: large pictures have hundreds of megabytes.
        """
        with self._lock:
            if self._last is None or not self._last.is_of(given, output):
                score = self._looked(given, output)
                self._last = Known(weakref.ref(given), weakref.ref(output), score)
            return self._last.score

    def _looked(self, given: Pixels, output: Pixels) -> float:
        planes = prepared(given, output)[None]
        (cells,) = self._session.run(["cells"], {"planes": planes})
        return score(cells)


@cache
def mark_detector(folder: Path = FOLDER) -> MarkDetector:
    """The one detector of this process."""
    return MarkDetector(folder / "marks.onnx")


def is_suspicious(given: Pixels, output: Pixels) -> bool:
    """Whether the score is high enough to read the output's text."""
    return mark_detector().score(given, output) >= threshold("suspicion")


def _bars(base: str, folder: Path) -> tuple[float, float]:
    """The scores from which a mark is likely and certain."""
    return threshold(base, folder), threshold(f"{base}_sure", folder)


@cache
def threshold(name: str, folder: Path = FOLDER) -> float:
    """A score from evaluation.json: `embedded` or `other` from which a mark is likely, the same
    with `_sure` from which it is certain, `suspicion` for reading the text.
    """
    known = json.loads((folder / "evaluation.json").read_text("utf-8"))
    return float(known["thresholds"][name])
