"""JPEGs whose end is missing: accepted while at least 99 % of their rows are present.

Owns counting the rows. libjpeg fills missing rows with mid grey in the last or only scan (jdhuff.c:
"return uniform gray for the remainder of the segment"), and leaves them as earlier scans had them
in progressive files; this module looks for both.
"""

import io
import re
import struct

from PIL import Image, ImageChops

from api.intake.jpeg_markers import FRAMES, PROGRESSIVE, SCAN

LEAST_SHARE = 0.99
END = b"\xff\xd9"
# The markers that may follow entropy-coded data, which escapes 0xFF with a zero and contains
# RST0-7.
MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
MID_GREY = 128
# The last row of blocks may be present in part, from the left.
RIGHT_EDGE = 8
COEFFICIENTS = 64


def mended(data: bytes) -> Image.Image | None:
    """The picture with its last rows filled in; None if too many rows are missing."""
    data = data.rstrip(b"\xff")
    frame, scans = _structure(data)
    if frame is None or not scans:
        return None
    image = _decoded(data + END)
    if frame in PROGRESSIVE:
        return image if _is_refined(data, scans, image) else None
    rows = _rows_that_came(image)
    if rows < LEAST_SHARE * image.height:
        return None
    return _filled_below(image, rows)


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def _rows_that_came(image: Image.Image) -> int:
    """The number of rows before the first one from which on the right edge is only mid grey."""
    left = max(0, image.width - RIGHT_EDGE)
    edge = image.crop((left, 0, image.width, image.height)).convert("RGB")
    differing = edge.point(lambda level: 0 if level == MID_GREY else 255)
    box = differing.convert("L").getbbox()
    return box[3] if box else 0


def _filled_below(image: Image.Image, rows: int) -> Image.Image:
    missing = image.height - rows
    if missing:
        last = image.crop((0, rows - 1, image.width, rows))
        image.paste(last.resize((image.width, missing)), (0, rows))
    return image


def _is_refined(data: bytes, scans: list[int], image: Image.Image) -> bool:
    """Whether every scan is present, and the last one reaches far enough down."""
    if not _all_coefficients(data, scans):
        return False
    coarse = _decoded(data[: scans[-1]] + END)
    rows = _last_difference(image, coarse)
    return rows >= LEAST_SHARE * image.height - 2 * RIGHT_EDGE


def _last_difference(fine: Image.Image, coarse: Image.Image) -> int:
    box = ImageChops.difference(fine.convert("RGB"), coarse.convert("RGB")).getbbox()
    return box[3] if box else 0


def _all_coefficients(data: bytes, scans: list[int]) -> bool:
    """Whether all bits of each component's 64 coefficients have been sent."""
    whole: dict[int, set[int]] = {}
    for offset in scans:
        count = data[offset + 4]
        components = data[offset + 5 : offset + 5 + 2 * count : 2]
        first, last, bits = data[offset + 5 + 2 * count : offset + 8 + 2 * count]
        for component in components:
            sent = whole.setdefault(component, set())
            if bits & 15 == 0:
                sent.update(range(first, last + 1))
    return all(len(sent) == COEFFICIENTS for sent in whole.values())


def _structure(data: bytes) -> tuple[int | None, list[int]]:
    """The frame's marker, and the position of each scan."""
    frame, scans, offset = None, [], 2
    while offset + 4 <= len(data):
        found = MARKER.search(data, offset)
        if found is None:
            break
        marker, offset = found[1][0], found.start()
        if offset + 4 > len(data):
            break
        if marker in FRAMES:
            frame = marker
        if marker == SCAN:
            scans.append(offset)
        offset += 2 + struct.unpack_from("!H", data, offset + 2)[0]
    return frame, [start for start in scans if start + 10 < len(data)]
