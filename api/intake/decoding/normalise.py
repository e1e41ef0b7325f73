"""From one upload's bytes to the picture that is stored.

Owns the order of steps. Raises whatever the libraries raise for files that cannot be decoded.
"""

from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from api.intake.decoding.about import read_about
from api.intake.decoding.colours import stated_colours, to_srgb
from api.intake.decoding.measure import measure
from api.intake.decoding.opacity import continued, split, visible
from api.intake.decoding.opening import loaded, opened
from shared.kept import KeptAs, write_kept

ORIENTATION = 0x0112
# libheif rotates a picture as its boxes say, which take precedence over EXIF (ISO/IEC 23008-12,
# 6.5.10).
TURNED_BY_DECODER = frozenset({"heic"})


@dataclass(frozen=True)
class Order:
    """What to do with an upload whose format the header has told; `inverted` is for masks."""

    kind: str
    max_pixels: int
    kept_as: KeptAs
    inverted: bool = False


def normalise(data: bytes, order: Order) -> tuple[dict[str, Any], bytes]:
    """Upright sRGB at the picture's own size, with warnings about it."""
    with opened(data, order.kind) as image:
        if image.width * image.height > order.max_pixels:
            return {"error": "image_too_large", "reason": "more pixels than the header said"}, b""
        turned, about = orientation(image, order.kind), read_about(image)
        stated = stated_colours(image, data, order.kind)
        pixels, said = loaded(image, data, order.kind)
    colours, alpha = split(pixels)
    del image, pixels  # a large picture must not be in memory twice
    colours, told = to_srgb(colours, stated)
    if colours.mode != "RGB":
        colours = colours.convert("RGB")
    if alpha is not None:
        colours, alpha = continued(colours, alpha), upright(alpha, turned)
    colours = upright(colours, turned)
    quality = measure(visible(colours, alpha))
    header = {"width": colours.width, "height": colours.height, "quality": quality}
    header |= {"warnings": said + told, "has_alpha": alpha is not None, "about": about}
    return header, write_kept(colours, alpha, order.kept_as)


def orientation(image: Image.Image, kind: str) -> int:
    """How the picture has to be turned, as EXIF numbers it; 1 if the decoder has done that."""
    return 1 if kind in TURNED_BY_DECODER else int(image.getexif().get(ORIENTATION, 1))


def upright(image: Image.Image, turned: int) -> Image.Image:
    """The picture turned upright, without metadata."""
    image.info.clear()
    if turned == 1:
        return image
    image.getexif()[ORIENTATION] = turned
    turned_image = ImageOps.exif_transpose(image)
    turned_image.info.clear()
    return turned_image
