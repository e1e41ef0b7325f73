"""Visible watermarks that the model added, found by a small network that sees input and output.

How it was made, and how well it does: models/watermark/README.md.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from shared.settings import REPOSITORY
from worker.guards.mark_features import Pixels, prepared, score

FOLDER = REPOSITORY / "models" / "watermark"


class MarkGuard:
    """The network with its threshold, loaded and warm."""

    def __init__(self, folder: Path = FOLDER) -> None:
        known = json.loads((folder / "evaluation.json").read_text("utf-8"))
        self._threshold = float(known["threshold"])
        self._detector = MarkDetector(folder / "marks.onnx")
        self.added(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8))

    def added(self, given: Pixels, output: Pixels) -> list[str]:
        """A line with the score where it says that a watermark was added."""
        score = self._detector.score(given, output)
        return [f"a watermark, {score:.0%} sure"] if score >= self._threshold else []


class MarkDetector:
    """The network, loaded; safe to share between threads. Raises what onnxruntime raises."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )

    def score(self, given: Pixels, output: Pixels) -> float:
        """0 to 1: how sure it is that `output` holds a mark that `given` does not."""
        planes = prepared(given, output)[None]
        (cells,) = self._session.run(["cells"], {"planes": planes})
        return score(cells)
