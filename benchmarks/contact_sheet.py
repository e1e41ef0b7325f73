"""Contact sheets: rows of pictures at 100 %, cut around their middle, with words below each."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from worker.training.damage import Pixels

Cell = tuple[Pixels, str]


def contact_sheet(rows: Sequence[Sequence[Cell]], tile: int, line: int) -> Image.Image:
    """`tile` is a picture's side, `line` the height of its words; all rows have equal lengths."""
    size = (len(rows[0]) * tile, len(rows) * (tile + line))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, cells in enumerate(rows):
        for column, (pixels, words) in enumerate(cells):
            left, top = column * tile, row * (tile + line)
            picture.paste(Image.fromarray(middle(pixels, tile)), (left, top))
            draw.text((left + 2, top + tile + 1), words, fill="black")
    return picture


def middle(pixels: Pixels, side: int) -> Pixels:
    """The middle of a picture, at most `side` pixels high and wide."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
