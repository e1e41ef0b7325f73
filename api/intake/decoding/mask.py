"""From a mask's bytes to one level per pixel: 255 where the result replaces the photo, 0 elsewhere.

Owns which files say what. A mask with transparent parts is its opacity, as editors export a
painted layer; if black and white are both painted on it, black parts do not count. An opaque mask
is its brightness.
"""

import io
from typing import Any

from PIL import Image, ImageChops, ImageOps

from api.intake.decoding.normalise import Order, orientation, upright
from api.intake.decoding.opacity import OPAQUE, split
from api.intake.decoding.opening import loaded, opened
from shared.kept import QUICK_PNG

# Levels this near to black or white are meant as such: JPEG's are never exact.
NEAR = 16
# Between the darkest and the lightest painted level, for both to be meant.
TWO_TONES = 128


def read_mask(data: bytes, order: Order) -> tuple[dict[str, Any], bytes]:
    """The mask as a grey PNG, upright, and whether it is black everywhere."""
    with opened(data, order.kind) as image:
        if image.width * image.height > order.max_pixels:
            return {"error": "image_too_large", "reason": "more pixels than the header said"}, b""
        turned = orientation(image, order.kind)
        pixels, _ = loaded(image, data, order.kind)
    levels = _levels(pixels)
    if order.inverted:
        levels = ImageOps.invert(levels)
    levels = upright(levels.point(_spread), turned)
    out = io.BytesIO()
    levels.save(out, **QUICK_PNG)
    header = {"width": levels.width, "height": levels.height}
    return header | {"is_empty": levels.getextrema()[1] == 0}, out.getvalue()


def _levels(pixels: Image.Image) -> Image.Image:
    colours, alpha = split(pixels)
    grey = colours.convert("L")
    if alpha is None:
        return grey
    painted = grey.histogram(alpha.point(lambda level: level and OPAQUE))
    found = [level for level, count in enumerate(painted) if count]
    if found and found[-1] - found[0] >= TWO_TONES:
        return ImageChops.multiply(grey, alpha)
    return alpha


def _spread(level: int) -> int:
    return min(OPAQUE, max(0, round((level - NEAR) * OPAQUE / (OPAQUE - 2 * NEAR))))
