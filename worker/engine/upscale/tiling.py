"""Cuts a picture into tiles with a margin around each, and computes where their results go.

Pure arithmetic on pixels. Knows nothing of networks.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Rows and columns of the source, [begin, end): the part that is kept, and the part with its
    margin.
    """

    kept: tuple[slice, slice]
    seen: tuple[slice, slice]

    def kept_of_seen(self, factor: int) -> tuple[slice, slice]:
        """The position of the kept part in the enlarged tile."""
        pairs = zip(self.kept, self.seen, strict=True)
        rows, columns = (
            slice((kept.start - seen.start) * factor, (kept.stop - seen.start) * factor)
            for kept, seen in pairs
        )
        return rows, columns

    def kept_of_whole(self, factor: int) -> tuple[slice, slice]:
        """The position of the kept part in the enlarged picture."""
        rows, columns = (slice(s.start * factor, s.stop * factor) for s in self.kept)
        return rows, columns


def tiles(height: int, width: int, side: int, margin: int) -> list[Tile]:
    """Tiles of at most `side` pixels a side, as equal as possible, that cover a picture.

    Each begins at an even pixel, so that networks that fold pixels fold them in the same way.
    """
    return [
        Tile((rows, columns), (_around(rows, height, margin), _around(columns, width, margin)))
        for rows in _parts(height, side)
        for columns in _parts(width, side)
    ]


def _parts(length: int, side: int) -> Iterator[slice]:
    count = -(-length // side)
    even = -(-length // count) // 4 * 4 + 4 if count > 1 else length
    for begin in range(0, length, min(even, side)):
        yield slice(begin, min(begin + min(even, side), length))


def _around(part: slice, length: int, margin: int) -> slice:
    return slice(max(0, part.start - margin), min(length, part.stop + margin))
