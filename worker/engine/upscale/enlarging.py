"""One picture in an enlarger, a tile at a time.

Owns the canvas and the list of remaining tiles. Each call of `step` is one unit of the device's
work, so the caller may stop or run other work in between. Belongs to the engine's thread.
"""

import numpy as np
import torch
from PIL import Image

from shared.errors import UpscalerCorrupt
from shared.upscalers.choice import passes
from worker.engine.interface import Pixels
from worker.engine.upscale.loading import LoadedUpscaler
from worker.engine.upscale.tiling import Tile, tiles

# In pixels of the source. A job can be stopped between tiles.
SIDE = 512
LEAST_SIDE = 64
# Arithmetic of one tile: one or a few seconds.
TILE_OPERATIONS = {"cpu": 0.3e12, "cuda": 30e12}
COSTLY_SIDE = 128
# Pixels farther away change hardly anything that eight bits can show (docs/upscalers.md).
MARGIN = 32


class Enlarging:
    """Enlarges `pixels` `factor` times. `done` of `total` tiles are finished."""

    def __init__(self, pixels: Pixels, factor: int, loaded: LoadedUpscaler) -> None:
        self._loaded = loaded
        self._target = (pixels.shape[0] * factor, pixels.shape[1] * factor)
        self._passes = passes(loaded.factors, factor)
        self._side = tile_side(loaded)
        self._waiting: list[Tile] = []
        self.done = 0
        self._is_grey = bool((pixels == pixels[..., :1]).all())
        self._begin(pixels)

    @property
    def total(self) -> int:
        """Number of tiles, including those of later passes."""
        (height, width), later = self._shape, 0
        for factor in [self._made_factor, *self._passes][:-1]:
            height, width = height * factor, width * factor
            later += len(tiles(height, width, self._side, MARGIN))
        return self.done + len(self._waiting) + later

    @property
    def result(self) -> Pixels | None:
        """The finished picture."""
        if self._waiting:
            return None
        height, width = self._target
        if self._canvas.shape[:2] == self._target:
            return self._canvas
        # Two passes of 2 do not give 3.
        larger = Image.fromarray(self._canvas)
        return np.asarray(larger.resize((width, height), Image.Resampling.LANCZOS))

    def step(self) -> None:
        """Runs one tile. Raises UpscalerCorrupt, or torch.OutOfMemoryError with nothing changed."""
        tile = self._waiting[0]
        drawn = self._drawn(self._source[tile.seen])
        self._canvas[tile.kept_of_whole(self._scale)] = drawn[tile.kept_of_seen(self._scale)]
        del self._waiting[0]
        self.done += 1
        if not self._waiting and self._passes:
            self._begin(self._canvas)

    def shrink(self) -> bool:
        """Continues with tiles of half the side; False if they have the minimum size."""
        if self._side // 2 < LEAST_SIDE:
            return False
        self._side //= 2
        self._waiting = [
            piece for tile in self._waiting for piece in _pieces(tile, self._side, self._shape)
        ]
        return True

    def _begin(self, source: Pixels) -> None:
        """Starts the next pass. If the last pass makes the picture too large, its tiles are
        shrunk.
        """
        height, width = source.shape[:2]
        self._made_factor = self._passes.pop(0)
        shrinks_evenly = not self._passes and self._target[0] % height == 0
        self._scale = self._target[0] // height if shrinks_evenly else self._made_factor
        self._source, self._shape = source, (height, width)
        self._canvas = np.empty((height * self._scale, width * self._scale, 3), np.uint8)
        self._waiting = tiles(height, width, self._side, MARGIN)

    def _drawn(self, seen: Pixels) -> Pixels:
        loaded = self._loaded
        tensor = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None]
        pictures = tensor.to(loaded.device, loaded.dtype) / 255
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        drawn = loaded.network(pictures, self._made_factor)[0].float()
        if not bool(drawn.isfinite().all()):
            raise UpscalerCorrupt(f"'{loaded.name}' computes values that are not numbers")
        if self._is_grey:
            drawn = drawn.mean(0, keepdim=True).repeat(3, 1, 1)
        pixels = drawn.clamp_(0, 1).mul_(255).round_().to(torch.uint8).permute(1, 2, 0)
        return self._fitted(np.asarray(pixels.cpu().numpy()), seen)

    def _fitted(self, drawn: Pixels, seen: Pixels) -> Pixels:
        if self._scale == self._made_factor:
            return drawn
        size = (seen.shape[1] * self._scale, seen.shape[0] * self._scale)
        return np.asarray(Image.fromarray(drawn).resize(size, Image.Resampling.LANCZOS))


def tile_side(loaded: LoadedUpscaler) -> int:
    """The largest side of tiles without margin, so that none takes long."""
    device = "cpu" if loaded.device.type == "cpu" else "cuda"
    seen = (TILE_OPERATIONS[device] / loaded.operations) ** 0.5
    return min(SIDE, max(COSTLY_SIDE, int(seen) - 2 * MARGIN) // 4 * 4)


def _pieces(tile: Tile, side: int, shape: tuple[int, int]) -> list[Tile]:
    rows, columns = tile.kept
    inner = tiles(rows.stop - rows.start, columns.stop - columns.start, side, 0)
    return [_moved(piece, rows.start, columns.start, shape) for piece in inner]


def _moved(piece: Tile, top: int, left: int, shape: tuple[int, int]) -> Tile:
    rows, columns = (
        slice(part.start + begin, part.stop + begin)
        for part, begin in zip(piece.kept, (top, left), strict=True)
    )
    seen = tuple(
        slice(max(0, part.start - MARGIN), min(length, part.stop + MARGIN))
        for part, length in zip((rows, columns), shape, strict=True)
    )
    return Tile((rows, columns), (seen[0], seen[1]))
