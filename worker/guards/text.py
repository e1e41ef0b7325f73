"""Text that the model added and that advertises: read by RapidOCR, whose weights it brings.

Reading costs as much as all other guards together, so it is done only where the watermark network
sees some change of that kind, at a score far below the one that is an alarm.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidocr import RapidOCR

from worker.guards.foreign_words import is_known, mark_in
from worker.guards.mark_features import Pixels
from worker.guards.marks import is_suspicious
from worker.guards.sameness import TEXT, bounding_box, fitted, is_new

# Larger pictures are read at this side: a mark is meant to be read by people.
MAX_SIDE = 640
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
    """The reader, loaded and warm; reads one picture at a time, whoever asks."""

    def __init__(self, is_suspicious: Compare = is_suspicious) -> None:
        self._lock = threading.Lock()
        self._is_suspicious = is_suspicious
        self._reader = RapidOCR(params=SETTINGS)
        self._warm()

    def added(self, given: Pixels, output: Pixels) -> list[str]:
        """The marks that only the output holds, as they read."""
        if not self._is_suspicious(given, output):
            return []
        marks = [line for line in self.read(output) if mark_in(line.text)]
        if not marks:
            return []
        before = fitted(given, output)
        known = [line.text for line in self.read(before)]
        return [
            mark.text
            for mark in marks
            if not is_known(mark.text, known)
            and is_new(before, output, bounding_box(mark.corners, *output.shape[:2]), TEXT)
        ]

    def read(self, pixels: Pixels) -> list[Line]:
        """Every line of text."""
        with self._lock:
            # Said every time: the reader remembers the options of its last call.
            found = self._reader(np.ascontiguousarray(pixels[..., ::-1]), use_det=True)
        if found.boxes is None or found.txts is None:
            return []
        return [
            Line(text, np.asarray(box, np.float64))
            for text, box in zip(found.txts, found.boxes, strict=True)
        ]

    def _warm(self) -> None:
        """Load all of it: the library itself waits for the first line that is to be read."""
        canvas = np.full((64, 256, 3), 255, np.uint8)
        canvas[24:40, 20:236:6] = 0
        self._reader(canvas[20:44, 16:240], use_det=False)
        self.read(canvas)
        self._is_suspicious(canvas, canvas)
