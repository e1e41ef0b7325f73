"""What is transparent in a photo, carried beside its colours and put back into the result.

Owns the worker's alpha: engines see colours alone, guards see what a person would.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.kept import read_kept_alpha
from worker.engine.interface import Pixels

# Height x width, 0 for nothing there, 255 for opaque.
Alpha = npt.NDArray[np.uint8]
WHITE, DARK = 255, 32
# Visible parts lighter than this would not show on white.
LIGHT = 128


def alpha_of(data: bytes) -> Alpha | None:
    """How opaque each pixel of a kept upload is; None where all of it is."""
    alpha = read_kept_alpha(data)
    return None if alpha is None else np.asarray(alpha)


def fitted_alpha(alpha: Alpha, pixels: Pixels) -> Alpha:
    """The alpha at the size of these pixels."""
    height, width = pixels.shape[:2]
    if alpha.shape == (height, width):
        return alpha
    return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.LANCZOS))


def seen(pixels: Pixels, alpha: Alpha | None) -> Pixels:
    """What a person sees: visible parts on white, or on dark where they are light themselves."""
    if alpha is None:
        return pixels
    weights = fitted_alpha(alpha, pixels)
    visible = int(weights.sum(dtype=np.int64))
    light = (pixels.mean(axis=2) * weights).sum() / visible if visible else 0.0
    return laid_on(pixels, weights, DARK if light > LIGHT else WHITE)


def laid_on(pixels: Pixels, alpha: Alpha, level: int) -> Pixels:
    """Colours over a plain grey of this level."""
    height, width = pixels.shape[:2]
    ground = Image.new("RGB", (width, height), (level, level, level))
    ground.paste(Image.fromarray(pixels), mask=Image.fromarray(alpha))
    return np.asarray(ground)
