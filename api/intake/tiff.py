"""Reads as much of TIFF files as must be known before a decoder sees them.

Owns the reading of their directories (TIFF 6.0, and BigTIFF): the first page's size, the number of
pages, and the kind of samples. Raises ValueError or struct.error for damaged files.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MOST_ENTRIES, MOST_PAGES = 4096, 10_000
WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES = 256, 257, 258, 262, 277
SUB_IFDS, SAMPLE_FORMAT = 330, 339
SUBFILE, DNG_VERSION = 254, 50706
REDUCED = 1
COLOUR_FILTER_ARRAY, LINEAR_RAW = 32803, 34892
GREYS, LAB = (0, 1), 8
UNSIGNED = 1
# The size of each type and struct's format for it; the other types are not needed here.
TYPES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 13: (4, "I"), 16: (8, "Q")}

# The tags with the positions and lengths of strips or tiles.
PARTS = ((273, 279), (324, 325))
MOST_PARTS = 1_000_000

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
    is_grey_beside_more: bool
    is_lab: bool


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
        is_grey_beside_more=first.get(PHOTOMETRIC) in GREYS and first.get(SAMPLES, 1) > 1,
        is_lab=first.get(PHOTOMETRIC) == LAB,
    )


def speaks_beyond(data: bytes) -> bool:
    """Whether the first page refers to bytes beyond the file's end."""
    reader = _Reader(data)
    return any(end > len(data) for end in reader.ends(reader.first))


def _is_raw(first: Directory) -> bool:
    """Whether this is a camera's raw file: its first page is a small copy, the picture is
    elsewhere.
    """
    is_small = bool(first.get(SUBFILE, 0) & REDUCED)
    sensor = first.get(PHOTOMETRIC) in (COLOUR_FILTER_ARRAY, LINEAR_RAW)
    return DNG_VERSION in first or sensor or (is_small and SUB_IFDS in first)


@dataclass(frozen=True)
class Values:
    """The position of an entry's values in the file, and how each is read."""

    start: int
    count: int
    size: int
    form: str

    @property
    def end(self) -> int:
        return self.start + self.count * self.size


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._is_big = self._unpack("H", 2) == 43
        self._long = "Q" if self._is_big else "I"
        self.first = self._unpack(self._long, 8 if self._is_big else 4)

    def directory(self, offset: int) -> tuple[Directory, int]:
        """The first value of each tag, and the position of the next directory."""
        tags: Directory = {}
        for at in self._entries(offset):
            self._read_entry(at, tags)
        count, head, size = self._shape(offset)
        return tags, self._unpack(self._long, offset + head + count * size)

    def ends(self, offset: int) -> Iterator[int]:
        """Where the values of a directory end, and the parts of its picture."""
        parts: dict[int, Values] = {}
        for at in self._entries(offset):
            tag, values = self._unpack("H", at), self._values(at)
            if values is not None:
                yield values.end
                parts[tag] = values
        for offsets, lengths in PARTS:
            if offsets in parts and lengths in parts:
                pairs = zip(self._all(parts[offsets]), self._all(parts[lengths]), strict=False)
                yield from (start + length for start, length in pairs)

    def _entries(self, offset: int) -> Iterator[int]:
        count, head, size = self._shape(offset)
        return (offset + head + number * size for number in range(count))

    def _shape(self, offset: int) -> tuple[int, int, int]:
        """The number of entries of a directory, where they begin in it, and the bytes of each."""
        is_big = self._is_big
        count = self._unpack("Q" if is_big else "H", offset)
        if count > MOST_ENTRIES:
            raise ValueError("too many entries")
        return (count, 8, 20) if is_big else (count, 2, 12)

    def _read_entry(self, at: int, tags: Directory) -> None:
        values = self._values(at)
        if values is not None:
            tags.setdefault(self._unpack("H", at), self._unpack(values.form, values.start))

    def _values(self, at: int) -> "Values | None":
        """The position of an entry's values; None if their type is not needed here."""
        kind, count = self._unpack("H", at + 2), self._unpack(self._long, at + 4)
        if kind not in TYPES:
            return None
        size, form = TYPES[kind]
        inline, room = (at + 12, 8) if self._is_big else (at + 8, 4)
        start = self._unpack(self._long, inline) if count * size > room else inline
        return Values(start, count, size, form)

    def _all(self, values: "Values") -> tuple[int, ...]:
        return self._read(f"{min(values.count, MOST_PARTS)}{values.form}", values.start)

    def _unpack(self, form: str, offset: int) -> int:
        return int(self._read(form, offset)[0])

    def _read(self, form: str, offset: int) -> tuple[int, ...]:
        # struct itself raises OverflowError for positions of 2^63 and more, as BigTIFF can state.
        if offset > len(self._data):
            raise struct.error("a position beyond the file")
        return struct.unpack_from(self._order + form, self._data, offset)
