"""The format in which an upload is stored: upright sRGB, and separately the opacity of each pixel.

Owns reading and writing it: bare pixels (a PPM, followed by a PGM of the alpha if there is one;
netpbm files may hold several pictures), lossless WebP or PNG. The bytes are our own, so decoding
them is safe anywhere.
"""

import io
from typing import Any, Literal

from PIL import Image

# Bare pixels take a hundredth of a lossless compression's time, in both directions, and twice its
# bytes.
KeptAs = Literal["ppm", "webp"]
# quality is the effort when lossless: 0 takes 0.4 s for 3.4 megapixels, the default 8 s
LOSSLESS_WEBP: dict[str, Any] = {
    "format": "WEBP", "lossless": True, "method": 0, "quality": 0, "exact": True,
}  # fmt: skip
LONGEST_WEBP_SIDE = 16_383
# The WebP encoder takes more than 20 bytes per pixel, and for soft transparency a second per
# megapixel; larger pictures become PNG, which is written row by row.
MOST_WEBP_PIXELS = 8_000_000
QUICK_PNG: dict[str, Any] = {"format": "PNG", "compress_level": 1}


def write_kept(colours: Image.Image, alpha: Image.Image | None, kept_as: KeptAs) -> bytes:
    """Encodes an RGB picture and its alpha."""
    if kept_as == "webp":
        return compressed(_joined(colours, alpha))
    out = io.BytesIO()
    colours.save(out, "PPM")
    if alpha is not None:
        alpha.save(out, "PPM")
    return out.getvalue()


def compressed(image: Image.Image) -> bytes:
    """Lossless WebP, or PNG if that would take too much memory or time."""
    fits = max(image.size) <= LONGEST_WEBP_SIDE and image.width * image.height <= MOST_WEBP_PIXELS
    out = io.BytesIO()
    image.save(out, **(LOSSLESS_WEBP if fits else QUICK_PNG))
    return out.getvalue()


def read_kept(data: bytes) -> Image.Image:
    """The colours as RGB, without alpha. Raises OSError or ValueError for other data."""
    image = Image.open(io.BytesIO(data), formats=("PPM", "WEBP", "PNG", "JPEG"))
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def bare_pixels_of(data: bytes) -> tuple[tuple[int, int], int] | None:
    """Width and height of a picture of bare pixels, and where in the data its colours begin as
    rows of RGB; None for a compressed one. Raises OSError or ValueError for damaged data.
    """
    if not data.startswith(b"P6"):
        return None
    image = Image.open(io.BytesIO(data), formats=("PPM",))
    codec, _, offset, _ = image.tile[0]
    return (image.size, offset) if codec == "raw" else None


def read_kept_alpha(data: bytes) -> Image.Image | None:
    """The opacity of each pixel, as L; None for a picture without transparency."""
    image = Image.open(io.BytesIO(data), formats=("PPM", "WEBP", "PNG", "JPEG"))
    if image.format == "PPM":
        _, _, offset, _ = image.tile[0]
        rest = memoryview(data)[offset + image.width * image.height * 3 :]
        return Image.open(io.BytesIO(rest), formats=("PPM",)).convert("L") if rest else None
    return image.getchannel("A") if image.mode == "RGBA" else None


def read_kept_whole(data: bytes) -> Image.Image:
    """RGBA if the picture has transparency, otherwise RGB."""
    return _joined(read_kept(data), read_kept_alpha(data))


def _joined(colours: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return colours
    return Image.merge("RGBA", (*colours.split(), alpha))
