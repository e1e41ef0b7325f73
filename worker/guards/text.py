"""Advertising text that the model added, read by RapidOCR (its package contains the weights).

Reading costs as much as all other guards together. It runs only where the watermark network sees a
change of that kind, at a score far below its alarm threshold.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidocr import RapidOCR

from worker.guards.finding import Finding
from worker.guards.foreign_words import is_known, mark_in
from worker.guards.mark_features import Pixels
from worker.guards.marks import is_suspicious
from worker.guards.sameness import TEXT, bounding_box, fitted, newness

# Larger pictures are scaled to this side: a mark is large enough to be read by people.
MAX_SIDE = 640
# The reader works on whole blocks of 32 pixels, and raises where a side has less than half of one.
LEAST_SIDE = 17
MIN_CERTAINTY = 0.6
SETTINGS = {
    "Global.log_level": "critical",
    "Global.use_cls": False,
    "Global.text_score": MIN_CERTAINTY,
    "Det.limit_type": "max",
    "Det.limit_side_len": MAX_SIDE,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}

Compare = Callable[[Pixels, Pixels], bool]


@dataclass(frozen=True)
class Line:
    """A line of text and its four corners [4, 2], x and y in pixels."""

    text: str
    corners: NDArray[np.float64]


class TextGuard:
    """The loaded reader; it reads one picture at a time."""

    def __init__(self, is_suspicious: Compare = is_suspicious) -> None:
        self._lock = threading.Lock()
        self._is_suspicious = is_suspicious
        self._reader = RapidOCR(params=SETTINGS)
        self._warm()

    def added(self, given: Pixels, output: Pixels) -> list[Finding]:
        """The advertising lines that are in the output and not in the input."""
        if not self._is_suspicious(given, output):
            return []
        marks = [line for line in self.read(output) if mark_in(line.text)]
        if not marks:
            return []
        before = fitted(given, output)
        known = [line.text for line in self.read(before)]
        return [
            Finding(mark.text, share > TEXT.surely_new)
            for mark in marks
            if not is_known(mark.text, known)
            and (share := _newness(mark, before, output)) > TEXT.new_share
        ]

    def read(self, pixels: Pixels) -> list[Line]:
        """Every line of text; none of a picture so long that nothing could be read at this size."""
        if min(pixels.shape[:2]) * MAX_SIDE < LEAST_SIDE * max(pixels.shape[:2]):
            return []
        with self._lock:
            # Passed every time: the reader keeps the options of its last call.
            found = self._reader(np.ascontiguousarray(pixels[..., ::-1]), use_det=True)
        if found.boxes is None or found.txts is None:
            return []
        return [
            Line(text, np.asarray(box, np.float64))
            for text, box in zip(found.txts, found.boxes, strict=True)
        ]

    def _warm(self) -> None:
        """Loads everything now: the library would otherwise load at the first line of text."""
        canvas = np.full((64, 256, 3), 255, np.uint8)
        canvas[24:40, 20:236:6] = 0
        self._reader(canvas[20:44, 16:240], use_det=False)
        self.read(canvas)
        self._is_suspicious(canvas, canvas)


def _newness(line: Line, before: Pixels, output: Pixels) -> float:
    return newness(before, output, bounding_box(line.corners, *output.shape[:2]), TEXT)
