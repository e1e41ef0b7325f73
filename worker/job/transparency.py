"""A photo's transparency: kept separately from its colours and put back into the result.

Owns the worker's alpha channel: engines process colours only, and guards see what a person would
see.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.kept import read_kept_alpha
from worker.engine.interface import Pixels

# Height x width; 0 is transparent, 255 is opaque.
Alpha = npt.NDArray[np.uint8]
WHITE, DARK = 255, 32
# Visible parts lighter than this would be invisible on white.
LIGHT = 128
ROWS_AT_ONCE = 256


def alpha_of(data: bytes) -> Alpha | None:
    """The opacity of each pixel of a stored upload; None if all pixels are opaque."""
    alpha = read_kept_alpha(data)
    return None if alpha is None else np.asarray(alpha)


def fitted_alpha(alpha: Alpha, pixels: Pixels) -> Alpha:
    """The alpha channel at the size of these pixels."""
    height, width = pixels.shape[:2]
    if alpha.shape == (height, width):
        return alpha
    return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.LANCZOS))


def seen(pixels: Pixels, alpha: Alpha | None) -> Pixels:
    """The picture as a person sees it: on white, or on dark if the visible parts are light."""
    if alpha is None:
        return pixels
    weights = fitted_alpha(alpha, pixels)
    return laid_on(pixels, weights, DARK if _light(pixels, weights) > LIGHT else WHITE)


def _light(pixels: Pixels, weights: Alpha) -> float:
    """The mean level of what is visible, by parts: a large picture is not held as doubles."""
    light, visible = 0.0, 0
    for top in range(0, len(pixels), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        light += float((pixels[rows].mean(axis=2, dtype=np.float32) * weights[rows]).sum())
        visible += int(weights[rows].sum(dtype=np.int64))
    return light / visible if visible else 0.0


def laid_on(pixels: Pixels, alpha: Alpha, level: int) -> Pixels:
    """The colours on a plain grey of this level."""
    height, width = pixels.shape[:2]
    ground = Image.new("RGB", (width, height), (level, level, level))
    ground.paste(Image.fromarray(pixels), mask=Image.fromarray(alpha))
    return np.asarray(ground)
