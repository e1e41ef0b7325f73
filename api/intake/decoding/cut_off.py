"""Whether a file that could not be decoded is shorter than its own contents say.

Owns distinguishing an interrupted transfer from a damaged file, for formats whose decoders do not
say which it was.
"""

import struct
from collections.abc import Callable

from api.intake.boxes import ends_early
from api.intake.tiff import speaks_beyond

START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def _has_no_end(data: bytes) -> bool:
    """For a JPEG: arithmetic decoders call broken what others call truncated."""
    return data.rfind(END_OF_IMAGE) < data.rfind(START_OF_SCAN)


CHECKS: dict[str, Callable[[bytes], bool]] = {
    "jpeg": _has_no_end,
    "heic": ends_early,
    "avif": ends_early,
    "tiff": speaks_beyond,
}


def is_cut_off(data: bytes, kind: str) -> bool:
    """False if that is unknown."""
    check = CHECKS.get(kind)
    try:
        return check is not None and check(data)
    except (struct.error, ValueError, IndexError):
        return False
