"""Photos with additions that a bad LoRA might make, and inexpensive guards."""

import numpy as np
import zxingcpp
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from worker.engine.interface import Pixels

QR_TEXT = "https://prizes.example/win"


def photo(name: str = "chelsea", side: int = 320) -> Pixels:
    """The centre of one of scikit-image's sample photos."""
    whole = np.asarray(getattr(data, name)())[..., :3]
    top, left = (max(0, (length - side) // 2) for length in whole.shape[:2])
    return np.ascontiguousarray(whole[top : top + side, left : left + side])


def with_code(pixels: Pixels, text: str = QR_TEXT) -> Pixels:
    """Adds a QR code of three pixels per module in the picture's corner."""
    code = np.asarray(zxingcpp.create_barcode(text, zxingcpp.QRCode).to_image(scale=3))
    marked = pixels.copy()
    marked[8 : 8 + code.shape[0], 8 : 8 + code.shape[1]] = code[..., None]
    return marked


def with_text(pixels: Pixels, text: str, size: int = 26, opacity: float = 0.7) -> Pixels:
    """Adds a white line of text across the picture's middle."""
    picture = Image.fromarray(pixels).convert("RGBA")
    layer = Image.new("RGBA", picture.size)
    place, ink = (24, picture.height // 2), (255, 255, 255, round(255 * opacity))
    ImageDraw.Draw(layer).text(place, text, fill=ink, font=ImageFont.load_default(size))
    return np.asarray(Image.alpha_composite(picture, layer).convert("RGB"))


class Fixed:
    """A classifier of unsafe content that always gives the same score."""

    def __init__(self, score: float) -> None:
        self._score = score

    def score(self, _pixels: Pixels) -> float:
        return self._score
