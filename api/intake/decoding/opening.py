"""Opens a file with the one decoder for its format, and loads all of its pixels.

Owns which library reads which format, and the eight-bit modes used by all later steps.
"""

import io

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from pillow_heif import register_heif_opener

from api.intake.decoding.jpeg_end import mended

PLUGINS = (
    AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin,
    PpmImagePlugin, TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip
FORMATS = {
    "png": "PNG",
    "jpeg": "JPEG",
    "webp": "WEBP",
    "heic": "HEIF",
    "avif": "AVIF",
    "tiff": "TIFF",
    "bmp": "BMP",
    "gif": "GIF",
}
# Colour profiles for print have 2 MB; one that decompresses to more than this is a bomb.
LARGEST_CHUNK = 4 * 2**20
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
PHOTOMETRIC, WHITE_IS_ZERO, BITS = 262, 0, 258


def prepare() -> None:
    """Sets up the libraries, once per process."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None  # the order gives the limit on pixels
    PngImagePlugin.MAX_TEXT_CHUNK = LARGEST_CHUNK
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    # Pillow's own reader takes the planes of an uncompressed 16-bit TIFF for 8-bit ones.
    TiffImagePlugin.READ_LIBTIFF = True
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    """The file's first or primary picture, not yet decoded."""
    return Image.open(io.BytesIO(data), formats=(FORMATS[kind],))


def loaded(image: ImageFile.ImageFile, data: bytes, kind: str) -> tuple[Image.Image, list[str]]:
    """All pixels as L, LA, RGB, RGBA, CMYK or LAB, and what was done to get all of them."""
    try:
        image.load()
    except OSError as error:
        if kind != "jpeg" or "truncated" not in str(error).lower():
            raise
        whole = mended(data)
        if whole is None:
            raise
        return eight_bit(whole), ["end_filled"]
    return eight_bit(image), []


def eight_bit(image: Image.Image) -> Image.Image:
    """The same picture in one of the modes that later steps support."""
    if image.mode in DEEP_MODES:
        return _from_deep(image)
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if _has_transparency(image) else "RGB")
    if image.mode in ("1", "L", "RGB") and _has_transparency(image):
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        return image
    return image.convert("RGB")


def _has_transparency(image: Image.Image) -> bool:
    return image.mode == "PA" or "transparency" in image.info


def _from_deep(image: Image.Image) -> Image.Image:
    """Pillow's own conversion would clip at 255."""
    tags = getattr(image, "tag_v2", {})
    levels = 2 ** min(16, int(next(iter(tags.get(BITS, ())), 16))) - 1
    grey = image.convert("I").point(lambda value: value * (255 / levels) + 0.5).convert("L")
    return ImageOps.invert(grey) if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else grey
