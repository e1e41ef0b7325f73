"""Blends tiles: latents between steps, and the finished picture's pixels.

Owns the sums. Memory grows with the picture's bytes, plus one band of tiles. Belongs to the
engine's thread.
"""

import numpy as np
import numpy.typing as npt
import torch

from worker.engine.base.tile_size import SIDE_MULTIPLE as CELL
from worker.engine.interface import Pixels
from worker.engine.step.tiles import Axis, Grid, Window

Levels = npt.NDArray[np.float32]
"""A tile's pixels before they are rounded: height x width x 3, 0 to 255."""


class LatentBlend:
    """The weighted sum of all windows' latents, [1, C, H, W] in float32."""

    def __init__(self, grid: Grid, channels: int, scale: int, device: torch.device) -> None:
        self._grid, self._scale, self._device = grid, scale, device
        self._shape = (1, channels, grid.height // scale, grid.width // scale)
        self.total = self._zeros()

    def add(self, window: Window, latents: torch.Tensor) -> None:
        weight = torch.from_numpy(self._grid.weight(window, self._scale)).to(self._device)
        self.total[(..., *window.at(self._scale))] += latents.float() * weight

    def take(self) -> torch.Tensor:
        """The sum of all windows; the next sum starts at zero."""
        total, self.total = self.total, self._zeros()
        return total

    def _zeros(self) -> torch.Tensor:
        return torch.zeros(self._shape, dtype=torch.float32, device=self._device)


class PictureBlend:
    """The finished picture, filled tile by tile in any order.

    Tiles are summed in bands across the shorter side. A complete band is rounded into the picture,
    except for the edges that it shares with incomplete bands.
    """

    def __init__(self, grid: Grid, height: int, width: int) -> None:
        self.picture: Pixels = np.empty((height, width, 3), np.uint8)
        self._is_wide = grid.width > grid.height
        self._bands, self._cross = (
            (grid.columns, grid.rows) if self._is_wide else (grid.rows, grid.columns)
        )
        self._canvas = _turned(self.picture) if self._is_wide else self.picture
        self._open: dict[int, Levels] = {}
        self._missing: dict[int, int] = {}
        self._edges: dict[int, Levels] = {}
        self._left = len(grid.windows)

    def add(self, window: Window, levels: Levels) -> None:
        """Adds a window; each one must be added once. `levels` may omit rows and columns beyond the
        picture.
        """
        tile = _turned(levels) if self._is_wide else levels
        number, place = window.row, window.column
        if self._is_wide:
            number, place = place, number
        band = self._band(number)
        begin = self._cross.starts[place] * CELL
        across = self._cross.weight(place, CELL)[: tile.shape[1], None]
        band[: tile.shape[0], begin : begin + tile.shape[1]] += tile * across
        self._left -= 1
        self._missing[number] -= 1
        if not self._missing[number]:
            self._close(number)

    @property
    def is_complete(self) -> bool:
        """Whether every window has been added."""
        return self._left == 0

    def _band(self, number: int) -> Levels:
        if number not in self._open:
            shape = (self._bands.side * CELL, self._canvas.shape[1], 3)
            self._open[number] = np.zeros(shape, np.float32)
            self._missing[number] = len(self._cross.starts)
        return self._open[number]

    def _close(self, number: int) -> None:
        band = self._open.pop(number)
        begin, end = _reach(self._bands, number)
        inner, outer = begin, end
        if number > 0:
            inner = self._share(number - 1, number, band)
        if number + 1 < len(self._bands.starts):
            outer = self._share(number, number + 1, band, is_first=True)
        _round_into(self._canvas[inner:outer], band[inner - begin : outer - begin])

    def _share(self, first: int, second: int, band: Levels, is_first: bool = False) -> int:
        """The part that two bands share, once both are present; where this band's own part begins
        or ends.
        """
        begin, end = _reach(self._bands, second)[0], _reach(self._bands, first)[1]
        own = first if is_first else second
        top = _reach(self._bands, own)[0]
        weight = self._bands.weight(own, CELL)[begin - top : end - top, None, None]
        edge = band[begin - top : end - top] * weight
        other = self._edges.pop(first, None)
        if other is None:
            self._edges[first] = edge
        else:
            _round_into(self._canvas[begin:end], edge + other)
        return begin if is_first else end


def _reach(bands: Axis, number: int) -> tuple[int, int]:
    begin = bands.starts[number] * CELL
    return begin, begin + bands.side * CELL


def _round_into(canvas: Pixels, levels: Levels) -> None:
    part = levels[: canvas.shape[0], : canvas.shape[1]]
    canvas[...] = np.clip(np.rint(part, out=part), 0, 255, out=part)


def _turned(picture: npt.NDArray[np.generic]) -> npt.NDArray:  # type: ignore[type-arg]
    """Rows as columns, a view of the same memory."""
    return picture.transpose(1, 0, 2)
