"""What the watermark network sees of a picture, and what it makes of the network's answer.

Owns the channels, the working size and the score, which training and use must share. Pure numpy and
Pillow; knows nothing of the network.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Planes = NDArray[np.float32]

# Cells of the network's answer, in pixels; pictures are padded to whole ones.
CELL = 16
MAX_SIDE = 640
CHANNELS = 6
# A change of this many grey levels is half way to the largest that the network can tell apart.
DIFFERENCE_SCALE = 24.0
# A mark covers several cells; a single bright cell is an accident.
TOP_CELLS = 4


def channels(given: Pixels, output: Pixels) -> Planes:
    """float32 [6, H, W]: the output's colours around 0, and how they differ from the input's.

    Both are uint8 [H, W, 3] of one size.
    """
    difference = output.astype(np.float32) - given.astype(np.float32)
    colours = output.astype(np.float32) / 127.5 - 1
    planes = np.concatenate([colours, np.tanh(difference / DIFFERENCE_SCALE)], axis=2)
    return np.ascontiguousarray(planes.transpose(2, 0, 1))


def prepared(given: Pixels, output: Pixels) -> Planes:
    """The channels of a pair of any sizes: scaled to the working size, mirrored to whole cells."""
    height, width = output.shape[:2]
    factor = min(1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return channels(_whole_cells(_sized(given, size)), _whole_cells(_sized(output, size)))


def _sized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _whole_cells(pixels: Pixels) -> Pixels:
    missing = [(0, -side % CELL) for side in pixels.shape[:2]]
    return np.pad(pixels, [*missing, (0, 0)], mode="symmetric")


def score(logits: NDArray[np.float32]) -> float:
    """How sure the network is of a mark anywhere, 0 to 1: the mean of its surest cells."""
    flat = logits.ravel()
    count = min(TOP_CELLS, flat.size)
    surest = np.partition(flat, flat.size - count)[-count:]
    return float(1 / (1 + np.exp(-surest.mean())))
