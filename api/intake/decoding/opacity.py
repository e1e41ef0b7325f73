"""Transparency of uploads: alpha is separated from the colours, which are extended under it.

Owns splitting alpha off, the colours of invisible pixels (an engine would carry their edges into
the visible part), and the picture as a person sees it.
"""

from PIL import Image, ImageStat

OPAQUE = 255
WHITE, DARK = (255, 255, 255), (32, 32, 32)
LIGHT = 128.0


def split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours, and alpha if anything is transparent."""
    if image.mode not in ("RGBA", "LA"):
        return image, None
    alpha = image.getchannel("A")
    colours = image.convert("RGB" if image.mode == "RGBA" else "L")
    return colours, (None if alpha.getextrema()[0] == OPAQUE else alpha)


def continued(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """The colours, with neighbouring colours extended under all fully transparent pixels."""
    ground = _ground(colours, alpha)
    ground.paste(colours, mask=alpha.point(lambda level: OPAQUE if level else 0))
    return ground


def _ground(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """Visible colours extended over the whole picture: each size fills the gaps of the next smaller
    one.
    """
    weighted = _weighted(colours, alpha)
    levels = []
    while max(weighted.size) > 1:
        weighted = weighted.reduce(2)
        levels.append(weighted)
    if not levels or not levels[-1].getchannel("a").getextrema()[1]:
        return Image.new("RGB", colours.size, WHITE)
    ground = levels[-1].convert("RGBA").convert("RGB")
    for level in reversed(levels[:-1]):
        ground = ground.resize(level.size, Image.Resampling.BILINEAR)
        plain = level.convert("RGBA")
        ground.paste(plain.convert("RGB"), mask=plain.getchannel("A"))
    return ground.resize(colours.size, Image.Resampling.BILINEAR)


def _weighted(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    return Image.merge("RGBA", (*colours.split(), alpha)).convert("RGBa")


def visible(colours: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """The picture as a person sees it: on white, or on dark if the visible parts are light."""
    if alpha is None:
        return colours
    seen = ImageStat.Stat(colours.convert("L"), mask=alpha.point(lambda level: level and OPAQUE))
    light = seen.mean[0] if seen.count[0] else 0.0
    ground = Image.new("RGB", colours.size, DARK if light > LIGHT else WHITE)
    ground.paste(colours, mask=alpha)
    return ground
