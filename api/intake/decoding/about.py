"""The metadata of a photo that its owner may want to keep: date, author, copyright, resolution.

Owns reading these few fields and no others; places, devices and serial numbers are never read.
"""

from typing import Any

from PIL import Image

EXIF_IFD = 0x8769
DATE_TIME, ARTIST, COPYRIGHT = 0x0132, 0x013B, 0x8298
ORIGINAL, OFFSET = 0x9003, 0x9011
# PNG's plain-text keywords (PNG, third edition, 11.3.3.2).
PNG_TEXTS = {"author": "Author", "copyright": "Copyright"}
LONGEST = 300
LEAST_DPI, MOST_DPI = 10, 20_000

About = dict[str, Any]


def read_about(image: Image.Image) -> About:
    """Reads the fields that are present."""
    exif = image.getexif()
    inner = exif.get_ifd(EXIF_IFD)
    found: About = {
        "taken_at": _text(inner.get(ORIGINAL)) or _text(exif.get(DATE_TIME)),
        "offset": _text(inner.get(OFFSET)),
        "author": _text(exif.get(ARTIST)),
        "copyright": _text(exif.get(COPYRIGHT)),
        "dpi": _dpi(image.info.get("dpi")),
    }
    for name, keyword in PNG_TEXTS.items():
        found[name] = found[name] or _text(image.info.get(keyword))
    return {name: value for name, value in found.items() if value}


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    clean = "".join(letter for letter in value if letter.isprintable()).strip()
    return clean[:LONGEST] or None


def _dpi(value: object) -> tuple[float, float] | None:
    try:
        across, down = (round(float(part), 2) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    sane = all(LEAST_DPI <= part <= MOST_DPI for part in (across, down))
    return (across, down) if sane else None
