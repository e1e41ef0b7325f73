"""Reads as much of HEIF and AVIF files as must be known before a decoder sees them.

Owns the reading of boxes (ISO/IEC 14496-12, 23008-12): the primary picture's size and colour
information, and whether the file is a sequence. Raises ValueError, struct.error or IndexError for
damaged files.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MOST_BOXES = 4096
HEVC = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"mif3"})
AV1 = frozenset({b"avif"})
SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})
# Properties are referred to by their position among these.
Property = tuple[bytes, memoryview]


@dataclass(frozen=True)
class Nclx:
    """Primaries and transfer function, numbered as in ITU-T H.273."""

    primaries: int
    transfer: int


@dataclass(frozen=True)
class Still:
    """The primary picture as its file describes it; `has_profile` if an ICC profile gives its
    colours.
    """

    width: int
    height: int
    colours: Nclx | None
    has_profile: bool


def brands(data: bytes) -> tuple[bytes, frozenset[bytes]]:
    """The major brand, and every compatible brand; empty for other kinds of files."""
    if data[4:8] != b"ftyp":
        return b"", frozenset()
    size = min(struct.unpack_from("!I", data)[0], 512)
    major, rest = data[8:12], data[16:size]
    others = {rest[at : at + 4] for at in range(0, len(rest) - 3, 4)}
    return major, frozenset({major} | others)


def read_still(data: bytes) -> Still:
    """Reads the primary picture's description from a HEIF or AVIF file."""
    meta = _find(memoryview(data), b"meta")[4:]
    primary = _primary(_find(meta, b"pitm"))
    known = _find(meta, b"iprp")
    properties = list(_boxes(_find(known, b"ipco")))
    numbers = _associated(_find(known, b"ipma"), primary)
    mine = [properties[number - 1] for number in numbers if 0 < number <= len(properties)]
    return _described(mine)


def ends_early(data: bytes) -> bool:
    """Whether one of the file's own boxes ends beyond the file."""
    try:
        return not [name for name, _ in _boxes(memoryview(data))]
    except struct.error:
        return True


def _described(mine: list[Property]) -> Still:
    size, colours, has_profile = None, None, False
    for name, content in mine:
        if name == b"ispe":
            size = struct.unpack_from("!II", content, 4)
        elif name == b"colr" and bytes(content[:4]) == b"nclx":
            colours = Nclx(*struct.unpack_from("!HH", content, 4))
        elif name == b"colr":
            has_profile = True
    if size is None:
        raise ValueError("the primary picture has no size")
    return Still(size[0], size[1], colours, has_profile)


def _primary(content: memoryview) -> int:
    form = "!H" if content[0] == 0 else "!I"
    return int(struct.unpack_from(form, content, 4)[0])


def _associated(content: memoryview, item: int) -> list[int]:
    """The numbers of an item's properties, starting at 1."""
    version, is_wide, offset = content[0], content[3] & 1, 8
    for _ in range(min(struct.unpack_from("!I", content, 4)[0], MOST_BOXES)):
        form = "!HB" if version == 0 else "!IB"
        item_id, count = struct.unpack_from(form, content, offset)
        offset += struct.calcsize(form)
        numbers = struct.unpack_from(f"!{count}{'H' if is_wide else 'B'}", content, offset)
        if item_id == item:
            return [number & (0x7FFF if is_wide else 0x7F) for number in numbers]
        offset += count * (2 if is_wide else 1)
    raise ValueError("the primary picture has no properties")


def _find(data: memoryview, wanted: bytes) -> memoryview:
    for name, content in _boxes(data):
        if name == wanted:
            return content
    raise ValueError(f"no box {wanted!r}")


def _boxes(data: memoryview) -> Iterator[Property]:
    offset = 0
    for _ in range(MOST_BOXES):
        if offset + 8 > len(data):
            return
        size, name = struct.unpack_from("!I4s", data, offset)
        head = 8
        if size == 1:
            size, head = struct.unpack_from("!Q", data, offset + 8)[0], 16
        elif size == 0:
            size = len(data) - offset
        if size < head:
            raise ValueError("a box is shorter than its own header")
        if offset + size > len(data):
            raise struct.error("a box ends beyond the file")
        yield name, data[offset + head : offset + size]
        offset += size
