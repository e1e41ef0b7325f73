"""A before/after picture: the photo and its enhanced version side by side, with labels.

Owns the layout. Does not know where the pictures come from.
"""

from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, ImageOps
from pillow_heif import register_heif_opener

GAP = 12
LABEL_HEIGHT = 34
PAPER, INK = (250, 250, 248), (40, 40, 40)


def before_after(before: bytes, after: bytes) -> bytes:
    """A PNG of both pictures at the enhanced one's size, the photo on the left.

    The photo is rotated by its EXIF orientation and scaled by Lanczos, so that the eye compares
    detail and not size. Raises OSError for bytes that are not a picture.
    """
    register_heif_opener()
    right = _on_white(Image.open(BytesIO(after)))
    left = _on_white(ImageOps.exif_transpose(Image.open(BytesIO(before))))
    left = left.resize(right.size, Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", _sheet_size(right), PAPER)
    second = GAP * 2 + right.width
    for x, picture, label in ((GAP, left, "before"), (second, right, "after")):
        sheet.paste(picture, (x, LABEL_HEIGHT))
        _write(sheet, label, x + picture.width // 2)
    data = BytesIO()
    sheet.save(data, "PNG", optimize=True)
    return data.getvalue()


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda level: level / 257).convert("L").convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    seen = picture.convert("RGBA")
    ground = Image.new("RGBA", seen.size, "white")
    return Image.alpha_composite(ground, seen).convert("RGB")


def _sheet_size(picture: Image.Image) -> tuple[int, int]:
    return GAP * 3 + picture.width * 2, LABEL_HEIGHT + picture.height + GAP


def _write(sheet: Image.Image, text: str, centre: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((centre, LABEL_HEIGHT // 2), text, INK, ImageFont.load_default(18), anchor="mm")
