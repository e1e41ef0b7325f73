"""A grey photo comes back grey: R = G = B in, R = G = B out, whatever an engine makes of it."""

import numpy as np
from PIL import Image

from worker.engine.interface import Pixels

ROWS_AT_ONCE = 256


def is_grey(pixels: Pixels) -> bool:
    """Whether every pixel has three equal values; a coloured photo is told by its first rows."""
    rows = (pixels[top : top + ROWS_AT_ONCE] for top in range(0, len(pixels), ROWS_AT_ONCE))
    return all(_has_no_colour(part) for part in rows)


def kept_grey(given: Pixels, made: Pixels) -> Pixels:
    """What was made of a photo, without colours where the photo has none."""
    if not is_grey(given) or is_grey(made):
        return made
    luma = np.asarray(Image.fromarray(made).convert("L"))
    return np.repeat(luma[..., None], 3, axis=2)


def _has_no_colour(pixels: Pixels) -> bool:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool((red == green).all() and (green == blue).all())
