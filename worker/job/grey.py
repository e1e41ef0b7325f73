"""A grey photo (R = G = B) gives a grey result, whatever the engine returns."""

import numpy as np
from PIL import Image

from worker.engine.interface import Pixels

ROWS_AT_ONCE = 256
SPARSELY = 16


def is_grey(pixels: Pixels) -> bool:
    """Whether every pixel has three equal values; a few of them suffice to recognise a coloured
    photo.
    """
    if not _has_no_colour(pixels[::SPARSELY, ::SPARSELY]):
        return False
    rows = (pixels[top : top + ROWS_AT_ONCE] for top in range(0, len(pixels), ROWS_AT_ONCE))
    return all(_has_no_colour(part) for part in rows)


def kept_grey(given: Pixels, made: Pixels) -> Pixels:
    """The result, without colours if the photo has none."""
    if not is_grey(given) or is_grey(made):
        return made
    luma = np.asarray(Image.fromarray(made).convert("L"))
    return np.repeat(luma[..., None], 3, axis=2)


def _has_no_colour(pixels: Pixels) -> bool:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool((red == green).all() and (green == blue).all())
