"""Reads as much of TIFF files as must be known before a decoder sees them.

Owns the reading of their directories (TIFF 6.0, and BigTIFF): the first page's size, the number of
pages, and the kind of samples. Raises ValueError or struct.error for damaged files.
"""

import struct
from dataclasses import dataclass

MOST_ENTRIES, MOST_PAGES = 4096, 10_000
WIDTH, HEIGHT, BITS, PHOTOMETRIC, SUB_IFDS, SAMPLE_FORMAT = 256, 257, 258, 262, 330, 339
SUBFILE, DNG_VERSION = 254, 50706
REDUCED = 1
COLOUR_FILTER_ARRAY, LINEAR_RAW = 32803, 34892
UNSIGNED = 1
# The size of each type and struct's format for it; the other types are not needed here.
TYPES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 13: (4, "I"), 16: (8, "Q")}

Directory = dict[int, int]


@dataclass(frozen=True)
class Page:
    """The first page; `pages` does not count smaller copies of other pages."""

    width: int
    height: int
    bits: int
    sample_format: int
    pages: int
    is_raw: bool


def read_page(data: bytes) -> Page:
    """Reads the first directory."""
    reader = _Reader(data)
    first, following = reader.directory(reader.first)
    seen, pages = {reader.first}, 1
    while following and following not in seen and len(seen) < MOST_PAGES:
        seen.add(following)
        tags, following = reader.directory(following)
        pages += not tags.get(SUBFILE, 0) & REDUCED
    return Page(
        width=first[WIDTH],
        height=first[HEIGHT],
        bits=first.get(BITS, 1),
        sample_format=first.get(SAMPLE_FORMAT, UNSIGNED),
        pages=pages,
        is_raw=_is_raw(first),
    )


def _is_raw(first: Directory) -> bool:
    """Whether this is a camera's raw file: its first page is a small copy, the picture is
    elsewhere.
    """
    is_small = bool(first.get(SUBFILE, 0) & REDUCED)
    sensor = first.get(PHOTOMETRIC) in (COLOUR_FILTER_ARRAY, LINEAR_RAW)
    return DNG_VERSION in first or sensor or (is_small and SUB_IFDS in first)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._is_big = self._unpack("H", 2) == 43
        self.first = self._unpack("Q", 8) if self._is_big else self._unpack("I", 4)

    def directory(self, offset: int) -> tuple[Directory, int]:
        """The first value of each tag, and the position of the next directory."""
        count, head, size = (
            (self._unpack("Q", offset), 8, 20)
            if self._is_big
            else (self._unpack("H", offset), 2, 12)
        )
        if count > MOST_ENTRIES:
            raise ValueError("too many entries")
        tags: Directory = {}
        for number in range(count):
            self._read_entry(offset + head + number * size, tags)
        return tags, self._unpack("Q" if self._is_big else "I", offset + head + count * size)

    def _read_entry(self, at: int, tags: Directory) -> None:
        tag, kind = self._unpack("H", at), self._unpack("H", at + 2)
        count = self._unpack("Q" if self._is_big else "I", at + 4)
        if kind not in TYPES:
            return
        size, form = TYPES[kind]
        inline, room = (at + 12, 8) if self._is_big else (at + 8, 4)
        is_far = count * size > room
        where = self._unpack("Q" if self._is_big else "I", inline) if is_far else inline
        tags.setdefault(tag, self._unpack(form, where))

    def _unpack(self, form: str, offset: int) -> int:
        return int(struct.unpack_from(self._order + form, self._data, offset)[0])
