"""Cuts a picture into overlapping windows of one size, and computes their blending weights.

Pure arithmetic. Sides are multiples of a cell of pixels, so that windows align with latents. The
weights of all windows add up to one everywhere, so that blending is a plain sum. Knows nothing of
rows, networks and canvases.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf

import numpy as np
import numpy.typing as npt

from worker.engine.base.tile_size import AREA_SLACK, SIDE_SLACK, TileSize
from worker.engine.base.tile_size import SIDE_MULTIPLE as CELL

Ramp = npt.NDArray[np.float32]

# The outer parts of an overlap have weight zero: a network's output is worst near an edge.
MARGIN = 0.25
# How many different numbers of windows are tried in one direction.
WAYS = 4


@dataclass(frozen=True)
class Axis:
    """One direction: where windows begin, and their length, in cells."""

    length: int
    side: int
    starts: tuple[int, ...]

    @property
    def span(self) -> int:
        """The total length of all windows."""
        return self.side * len(self.starts)

    def weight(self, index: int, per_cell: int) -> Ramp:
        """A window's weight at this many samples per cell: 1, and less where windows overlap."""
        begin, weight = self.starts[index], np.ones(self.side * per_cell, np.float32)
        if index > 0:
            shared = self.starts[index - 1] + self.side - begin
            weight[: shared * per_cell] *= _rise(shared * per_cell)
        if index + 1 < len(self.starts):
            shared = begin + self.side - self.starts[index + 1]
            weight[-shared * per_cell :] *= 1 - _rise(shared * per_cell)
        return weight


@dataclass(frozen=True)
class Window:
    """One tile: its position in the grid, and its pixels; `bottom` and `right` are exclusive."""

    row: int
    column: int
    top: int
    left: int
    bottom: int
    right: int

    def at(self, scale: int) -> tuple[slice, slice]:
        """The rows and columns if one sample covers `scale` pixels."""
        return (
            slice(self.top // scale, self.bottom // scale),
            slice(self.left // scale, self.right // scale),
        )


@dataclass(frozen=True)
class Grid:
    """All windows of one picture, which cover it and less than a cell beyond it."""

    rows: Axis
    columns: Axis

    @property
    def height(self) -> int:
        """Pixels, including the part beyond the picture."""
        return self.rows.length * CELL

    @property
    def width(self) -> int:
        return self.columns.length * CELL

    @property
    def share(self) -> float:
        """Pixels of all windows per pixel of the picture."""
        return self.rows.span * self.columns.span / (self.rows.length * self.columns.length)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Along the shorter side first, so that little is unfinished between them."""
        places = [
            (row, column)
            for row in range(len(self.rows.starts))
            for column in range(len(self.columns.starts))
        ]
        if self.width > self.height:
            places.sort(key=lambda place: place[1])
        return tuple(self._window(*place) for place in places)

    def weight(self, window: Window, scale: int) -> Ramp:
        """The weight of each sample of a window [h, w], with `scale` pixels per sample."""
        per_cell = CELL // scale
        down = self.rows.weight(window.row, per_cell)
        across = self.columns.weight(window.column, per_cell)
        return down[:, None] * across[None]

    def _window(self, row: int, column: int) -> Window:
        top, left = self.rows.starts[row] * CELL, self.columns.starts[column] * CELL
        bottom, right = top + self.rows.side * CELL, left + self.columns.side * CELL
        return Window(row, column, top, left, bottom, right)


def plan_tiles(height: int, width: int, size: TileSize) -> Grid:
    """The grid with the fewest pixels in total, and then with the squarest windows."""
    rows, columns = ceil(height / CELL), ceil(width / CELL)
    area, longest = AREA_SLACK * size.side**2 / CELL**2, SIDE_SLACK * size.side / CELL
    best, least = None, (inf, inf)
    for down in _axes(rows, size.overlap // CELL, longest):
        for across in _axes(columns, size.overlap // CELL, min(longest, area / down.side)):
            squareness = max(down.side, across.side) / min(down.side, across.side)
            cost = (down.span * across.span, squareness)
            if cost < least:
                best, least = Grid(down, across), cost
            break  # more windows would only overlap more
    assert best is not None
    return best


def _axes(length: int, overlap: int, longest: float) -> list[Axis]:
    """Ways to cut one direction, fewest windows first, none longer than `longest` cells."""
    most = max(int(longest), 2 * overlap)
    fewest = 1 if length <= most else ceil((length - overlap) / (most - overlap))
    axes = (_axis(length, overlap, count) for count in range(fewest, fewest + WAYS))
    return [axis for axis in axes if len(axis.starts) == fewest or axis.side >= 2 * overlap]


def _axis(length: int, overlap: int, count: int) -> Axis:
    """This many windows of one length, as far apart as possible."""
    side = ceil((length + (count - 1) * overlap) / count)
    steps = max(1, count - 1)
    return Axis(length, side, tuple(round(i * (length - side) / steps) for i in range(count)))


def _rise(samples: int) -> Ramp:
    """From 0 to 1, smooth at both ends; together with the neighbouring fall it adds up to one."""
    margin = MARGIN * samples
    at = (np.arange(samples, dtype=np.float32) + 0.5 - margin) / (samples - 2 * margin)
    at = np.clip(at, 0, 1)
    return np.asarray(at * at * (3 - 2 * at), np.float32)
