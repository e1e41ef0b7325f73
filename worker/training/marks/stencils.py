"""Draws marks: text, logos, codes and badges, each as an opacity map with a colour.

Owns the appearance of a mark before it is placed on a picture. Knows nothing of photos and
opacities.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from worker.training.marks.wording import line

Plane = NDArray[np.float32]
FORMATS = ("QRCode", "QRCode", "QRCode", "DataMatrix", "Aztec", "Code128")
GREYS = ((255, 255, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128))


@dataclass(frozen=True)
class Stencil:
    """A mark: opacity float32 [H, W] in 0..1, colour float32 [H, W, 3] in 0..255."""

    opacity: Plane
    colour: Plane


@dataclass(frozen=True)
class Palette:
    """Fonts and logos to choose from; `chinese` are the fonts with Chinese characters."""

    fonts: tuple[Path, ...]
    chinese: tuple[Path, ...]
    logos: tuple[Path, ...]


def draw_text(palette: Palette, size: int, dice: random.Random) -> Stencil:
    """One line of text, sometimes with an outline or a shadow."""
    in_chinese = dice.random() < 0.2
    font = _font(dice.choice(palette.chinese if in_chinese else palette.fonts), size)
    words = line(dice, in_chinese=in_chinese)
    box = font.getbbox(words)
    pad = 3
    extent = (max(8, int(box[2] - box[0]) + 2 * pad), max(8, int(box[3] - box[1]) + 2 * pad))
    ink = Image.new("L", extent)
    ImageDraw.Draw(ink).text((pad - box[0], pad - box[1]), words, fill=255, font=font)
    opacity = _opacity(ink)
    colour = np.broadcast_to(_colour(dice), (*opacity.shape, 3)).astype(np.float32)
    return _with_rim(opacity, colour, dice) if dice.random() < 0.3 else Stencil(opacity, colour)


def _with_rim(opacity: Plane, colour: Plane, dice: random.Random) -> Stencil:
    """An outline (or, displaced, a shadow) of the opposite brightness."""
    shift = dice.choice((0, 1, 2))
    wide = np.asarray(cv2.dilate(opacity, np.ones((3, 3), np.uint8)), np.float32)
    around = np.roll(wide, (shift, shift), (0, 1))
    rim = np.full_like(colour, 0.0 if colour.mean() > 127 else 255.0)
    mixed = opacity[..., None] * colour + (1 - opacity[..., None]) * rim
    return Stencil(np.maximum(opacity, around), mixed)


def draw_logo(palette: Palette, size: int, dice: random.Random) -> Stencil:
    """An icon in its own colours, or its silhouette in one colour."""
    picture = _logo(dice.choice(palette.logos), size)
    opacity: Plane = picture[..., 3].astype(np.float32) / np.float32(255)
    if dice.random() < 0.5:
        return Stencil(opacity, picture[..., :3].astype(np.float32))
    shape = opacity
    if dice.random() < 0.5:
        edges = cv2.Canny(picture[..., :3].copy(), 60, 160) > 0
        shape = np.maximum(np.float32(0.35) * opacity, edges.astype(np.float32))
    return Stencil(shape, np.broadcast_to(_colour(dice), (*shape.shape, 3)).astype(np.float32))


def draw_code(_palette: Palette, size: int, dice: random.Random) -> Stencil:
    """A two-dimensional code or barcode with its quiet zone, sometimes without the white."""
    text = f"https://{line(dice, in_chinese=False)}"[: dice.randint(8, 40)]
    kind = zxingcpp.barcode_format_from_str(dice.choice(FORMATS))
    made = zxingcpp.create_barcode(text.encode("ascii", "replace").decode(), kind)
    raw = np.asarray(made.to_image(scale=1, add_quiet_zones=True))
    factor = max(1, round(size / max(raw.shape)))
    code = np.kron(raw, np.ones((factor, factor), np.uint8)).astype(np.float32)
    colour = np.repeat(code[..., None], 3, axis=2)
    bare = dice.random() < 0.25
    return Stencil((code < 128).astype(np.float32) if bare else np.ones_like(code), colour)


def draw_badge(palette: Palette, size: int, dice: random.Random) -> Stencil:
    """Text on a round or rounded plate, as in the corners of stock photos."""
    text = draw_text(palette, max(9, size // 3), dice)
    height, width = text.opacity.shape
    plate = Image.new("L", (width + size // 3, height + size // 3))
    ImageDraw.Draw(plate).rounded_rectangle(
        (0, 0, plate.width - 1, plate.height - 1), dice.choice((0, 4, plate.height // 2)), fill=255
    )
    opacity = _opacity(plate) * np.float32(dice.uniform(0.6, 1.0))
    colour = np.broadcast_to(_colour(dice), (*opacity.shape, 3)).astype(np.float32).copy()
    top, left = (plate.height - height) // 2, (plate.width - width) // 2
    inside = np.s_[top : top + height, left : left + width]
    ink = text.opacity[..., None]
    opposite = 255.0 if colour.mean() < 127 else 0.0
    colour[inside] = ink * opposite + (1 - ink) * colour[inside]
    opacity[inside] = np.maximum(opacity[inside], text.opacity)
    return Stencil(opacity, colour)


def _opacity(ink: Image.Image) -> Plane:
    return np.asarray(ink, np.float32) / np.float32(255)


@lru_cache(maxsize=512)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@lru_cache(maxsize=256)
def _logo(path: Path, size: int) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS))


def _colour(dice: random.Random) -> tuple[int, int, int]:
    if dice.random() < 0.75:
        return dice.choice(GREYS)
    return dice.randrange(256), dice.randrange(256), dice.randrange(256)
