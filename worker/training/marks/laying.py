"""Places marks on a picture: position, size, number, angle and opacity.

Owns placement. stencils.py draws the marks.
"""

import random
from typing import Literal

import cv2
import numpy as np

from worker.training.marks.stencils import (
    Palette,
    Plane,
    Stencil,
    draw_badge,
    draw_code,
    draw_logo,
    draw_text,
)
from worker.training.photos import Pixels

Kind = Literal["text", "logo", "tiled", "code", "badge"]
KINDS: tuple[Kind, ...] = ("text", "logo", "tiled", "code", "badge")
OPACITY = (0.2, 0.8)


class Layer:
    """Marks over a whole picture: opacity [H, W, 1] in 0..1 and colour [H, W, 3]."""

    def __init__(self, height: int, width: int) -> None:
        self.opacity: Plane = np.zeros((height, width, 1), np.float32)
        self.colour: Plane = np.zeros((height, width, 3), np.float32)

    def put(self, mark: Stencil, top: int, left: int, strength: float) -> None:
        """Places a mark with its top left corner at this point; parts outside are cut off."""
        height, width = self.opacity.shape[:2]
        rows, below = _overlap(top, mark.opacity.shape[0], height)
        columns, beside = _overlap(left, mark.opacity.shape[1], width)
        opacity = strength * mark.opacity[below, beside][..., None]
        covers = opacity > self.opacity[rows, columns]
        self.colour[rows, columns] = np.where(
            covers, mark.colour[below, beside], self.colour[rows, columns]
        )
        self.opacity[rows, columns] = np.where(covers, opacity, self.opacity[rows, columns])

    def over(self, pixels: Pixels) -> Pixels:
        """The picture with the marks on it."""
        mixed = pixels * (1 - self.opacity) + self.colour * self.opacity
        return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _overlap(start: int, length: int, limit: int) -> tuple[slice, slice]:
    first, last = max(0, start), min(limit, start + length)
    last = max(first, last)
    return slice(first, last), slice(first - start, last - start)


def draw_layer(
    size: tuple[int, int], kind: Kind, strength: float, palette: Palette, dice: random.Random
) -> Layer:
    """Marks of one kind at one opacity over a picture of this height and width."""
    layer = Layer(*size)
    if kind == "tiled":
        _tile(layer, palette, strength, dice)
        return layer
    mark = _turned(_draw(kind, palette, dice, scale=1.0), kind, dice)
    for top, left in _spots(layer, mark, kind, dice):
        layer.put(mark, top, left, strength)
    return layer


def _draw(kind: Kind, palette: Palette, dice: random.Random, scale: float) -> Stencil:
    if kind == "text":
        return draw_text(palette, max(9, round(scale * dice.triangular(11, 60, 18))), dice)
    if kind == "logo":
        return draw_logo(palette, max(24, round(scale * dice.triangular(28, 130, 50))), dice)
    if kind == "code":
        return draw_code(palette, round(dice.triangular(42, 150, 70)), dice)
    return draw_badge(palette, round(scale * dice.triangular(30, 90, 40)), dice)


def _turned(mark: Stencil, kind: Kind, dice: random.Random) -> Stencil:
    if dice.random() < 0.65 or kind == "badge":
        return mark
    steep = kind == "text" and dice.random() < 0.5
    return turned(mark, dice.choice((90, -90, 45, -45)) if steep else dice.uniform(-30, 30))


def turned(mark: Stencil, degrees: float) -> Stencil:
    """A mark rotated about its centre, on a canvas that holds all of it."""
    height, width = mark.opacity.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    wide, high = int(height * sin + width * cos) + 1, int(height * cos + width * sin) + 1
    matrix[:, 2] += ((wide - width) / 2, (high - height) / 2)
    opacity = cv2.warpAffine(mark.opacity, matrix, (wide, high))
    colour = cv2.warpAffine(mark.colour, matrix, (wide, high), borderMode=cv2.BORDER_REPLICATE)
    return Stencil(np.asarray(opacity), np.asarray(colour))


def _spots(layer: Layer, mark: Stencil, kind: Kind, dice: random.Random) -> list[tuple[int, int]]:
    """Top left corners: a corner for badges, anywhere for others; most of the mark is inside."""
    height, width = layer.opacity.shape[:2]
    high, wide = mark.opacity.shape
    if kind == "badge" or dice.random() < 0.3:
        margin = dice.randint(2, 14)
        top = dice.choice((margin, height - high - margin))
        return [(top, dice.choice((margin, width - wide - margin)))]
    top = dice.randint(min(0, height - high), max(0, height - high))
    return [(top, dice.randint(min(0, width - wide), max(0, width - wide)))]


def _tile(layer: Layer, palette: Palette, strength: float, dice: random.Random) -> None:
    kind: Kind = dice.choice(("text", "text", "logo"))
    mark = turned(_draw(kind, palette, dice, scale=0.7), dice.choice((0, 15, -20, 30, -30, 45)))
    height, width = layer.opacity.shape[:2]
    high, wide = mark.opacity.shape
    down, right = (round(side * dice.uniform(1.05, 1.9)) for side in (high, wide))
    first_top, first_left = -dice.randrange(down), -dice.randrange(right)
    for row, top in enumerate(range(first_top, height, down)):
        shift = right // 2 if row % 2 else 0
        for left in range(first_left - shift, width, right):
            layer.put(mark, top, left, strength)
