"""The watermark network's input channels, and the score that is computed from its output.

Owns the channels, the working size and the score, which training and inference must share. Knows
nothing of the network itself.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Planes = NDArray[np.float32]

# The side of one output cell in pixels; pictures are padded to whole cells.
CELL = 16
MAX_SIDE = 640
# Smaller photos are compared at this size, if the result has it.
SMALLEST_SIDE = 256
CHANNELS = 9
LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))
# Grey levels whose differences are well visible.
DIFFERENCE_SCALE, FAINT_SCALE, BUSY_SCALE = 24.0, 6.0, 16.0
# A change is measured relative to the input's own detail there, and at least to this.
QUIETEST = 1.5
# In pixels. Smaller structures are noise that was removed, larger ones are light and colour.
STROKE_SIGMA, SLOW_SIDE, BUSY_SIDE = 1.3, 33, 15
# A mark covers several cells; a single bright cell is chance.
TOP_CELLS = 3


def channels(given: Pixels, output: Pixels) -> Planes:
    """float32 [9, H, W]: the output's colours around 0, their difference from the input's, and
    where that difference exceeds what an enhancement does.

    Both are uint8 [H, W, 3] of one size. The last three planes are the change of lightness at the
    width of strokes, the amount of detail that the input has there, and their quotient: an
    enhancement changes existing detail, a mark ignores it.
    """
    planes = np.empty((CHANNELS, *output.shape[:2]), np.float32)
    for colour in range(3):
        after = planes[colour]
        after[:] = output[..., colour]
        np.subtract(after, given[..., colour], out=planes[3 + colour])
        after /= 127.5
        after -= 1
    strokes = _strokes(_luma(*planes[3:6]))
    busy = _busy(_luma(*cv2.split(given)))
    planes[3:6] /= DIFFERENCE_SCALE
    planes[6] = strokes / FAINT_SCALE
    planes[7] = busy / BUSY_SCALE
    planes[8] = strokes / (QUIETEST + busy)
    np.tanh(planes[3:], out=planes[3:])
    return planes


def _luma(red: NDArray[Any], green: NDArray[Any], blue: NDArray[Any]) -> Plane:
    return np.asarray(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue, np.float32)


def _strokes(change: Plane) -> Plane:
    """The change in structures larger than noise and smaller than lighting."""
    fine = cv2.GaussianBlur(change, (0, 0), STROKE_SIGMA)
    return np.asarray(fine - cv2.blur(change, (SLOW_SIDE, SLOW_SIDE)), np.float32)


def _busy(luma: Plane) -> Plane:
    """The standard deviation of the detail around each pixel."""
    detail = luma - cv2.GaussianBlur(luma, (0, 0), 2 * STROKE_SIGMA)
    power = cv2.blur(detail * detail, (BUSY_SIDE, BUSY_SIDE))
    # Running sums may end slightly below zero.
    return np.asarray(np.sqrt(np.maximum(power, 0)), np.float32)


def prepared(given: Pixels, output: Pixels) -> Planes:
    """The channels of a pair of any sizes: scaled to the working size, mirrored to whole cells.

    An enlarged result is compared at the photo's own size: there a mark is as visible, and the
    detail that the enlarger draws is no change.
    """
    height, width = output.shape[:2]
    side = min(MAX_SIDE, max(SMALLEST_SIDE, *given.shape[:2]))
    factor = min(1.0, side / max(height, width))
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
    """The score of a mark anywhere in the picture, 0 to 1: the mean of the highest cells."""
    flat = logits.ravel()
    count = min(TOP_CELLS, flat.size)
    surest = np.partition(flat, flat.size - count)[-count:]
    return float(1 / (1 + np.exp(-surest.mean())))
