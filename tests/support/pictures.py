"""Pictures to send: small, complete, and in any format."""

import io

from PIL import Image

PIECES = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (230, 230, 230))


def photo(
    width: int = 64, height: int = 48, kind: str = "JPEG", mode: str = "RGB", **save: object
) -> bytes:
    """Four coloured quarters: red, green, blue and nearly white, from the top left, row by row."""
    image = Image.new("RGB", (2, 2))
    image.putdata(PIECES)
    out = io.BytesIO()
    large = image.resize((width, height), Image.Resampling.NEAREST).convert(mode)
    large.save(out, kind, **save)
    return out.getvalue()


def colours(data: bytes) -> list[tuple[int, int, int]]:
    """The colours at the centres of the four quarters."""
    with Image.open(io.BytesIO(data)) as image:
        rgb = image.convert("RGB")
    width, height = rgb.size
    places = ((x, y) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4))
    return [rgb.getpixel(place) for place in places]  # type: ignore[misc]


def is_like(one: tuple[int, int, int], other: tuple[int, int, int], by: int = 12) -> bool:
    """Whether two colours differ by no more than a lossy format does."""
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))
