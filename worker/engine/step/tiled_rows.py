"""A picture that consists of tiles, and its tiles, each a row of the step engine like any other.

Owns what the tiles share: the noise, the latents that are blended after every step, the finished
picture, and the progress of all tiles. If there is only one step, each tile is processed from
pixels to pixels by itself, and only its part of the picture is kept. Does not know how units of
work are done.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from shared.jobs import Stage
from worker.engine.base.tile_size import TileSize
from worker.engine.interface import PartDone, Pixels, StepDone
from worker.engine.pixels import to_levels
from worker.engine.step.blending import LatentBlend, Levels, PictureBlend
from worker.engine.step.draws import Draws
from worker.engine.step.rows import Row, Unit
from worker.engine.step.tiles import Grid, Window, plan_tiles

# Pictures with more pixels are made one after the other; smaller ones run beside them, tile by
# tile.
LARGE_PIXELS = 4_000_000

_STAGES = {Unit.ENCODE: Stage.ENCODING, Unit.STEP: Stage.DENOISING, Unit.DECODE: Stage.DECODING}


@dataclass(eq=False, kw_only=True)
class TiledRow(Row):
    """The whole picture. No unit is run on it directly.

    `waiting`, `out` and `rested` are the tiles before, in and after the present phase: all units of
    one kind, or all units for a picture of one step.
    """

    tile_size: TileSize
    grid: Grid = field(init=False)
    is_open: bool = False
    tiles: list["TileRow"] = field(default_factory=list)
    waiting: deque["TileRow"] = field(default_factory=deque)
    out: list["TileRow"] = field(default_factory=list)
    rested: list["TileRow"] = field(default_factory=list)
    done: Counter[Stage] = field(default_factory=Counter)
    draws: Draws | None = None
    sample: torch.Tensor | None = None
    dtype: torch.dtype = torch.float32
    blend: LatentBlend | None = None
    picture: PictureBlend | None = None

    def __post_init__(self) -> None:
        self._cut()

    @classmethod
    def instead_of(cls, row: Row, size: TileSize) -> "TiledRow":
        """The same picture in tiles. Earlier reports stay valid."""
        return cls(
            job=row.job,
            pixels=row.pixels,
            on_event=row.on_event,
            future=row.future,
            adapters=row.adapters,
            urgency=row.urgency,
            owns_adapters=row.owns_adapters,
            arrived=row.arrived,
            reported=row.reported,
            steps_reported=row.steps_reported,
            seconds=row.seconds,
            degraded=row.degraded,
            ran_by=row.ran_by,
            tile_size=size,
        )

    @property
    def is_ready(self) -> bool:
        return False

    @property
    def is_large(self) -> bool:
        height, width = self.pixels.shape[:2]
        return bool(height * width > LARGE_PIXELS)

    @property
    def steps(self) -> int:
        """The number of steps of each tile."""
        return self.job.executed_steps

    @property
    def streams(self) -> bool:
        """Whether no tile waits for others, because only pixels are blended."""
        return self.steps == 1

    def next_tiles(self, most: int) -> Iterator["TileRow"]:
        """The tiles that start now, so that `most` are in progress."""
        while self.waiting and len(self.out) < most:
            tile = self.waiting.popleft()
            tile.begin_phase()
            self.out.append(tile)
            yield tile

    def count(self, tile: "TileRow", unit: Unit) -> None:
        """A tile has done a unit: it continues, or waits until the others have done theirs."""
        self.done[_STAGES[unit]] += 1
        if tile.finished is not None:
            self.out.remove(tile)
            tile.let_go()
        elif not self.streams:
            self.out.remove(tile)
            self.rested.append(tile)
        if self.rested and not self.waiting and not self.out:
            self._end_phase(unit)

    def tell_parts(self, unit: Unit) -> None:
        """Reports the progress of all tiles, after one more unit of this kind."""
        stage, each = _STAGES[unit], len(self.tiles)
        total = each * (self.steps if unit is Unit.STEP else 1)
        self.tell(PartDone(stage, self.done[stage], total))
        steps = self.done[Stage.DENOISING] // each
        if unit is Unit.STEP and steps > self.steps_reported:
            self.steps_reported = steps
            self.tell(StepDone(steps, self.steps))

    def reports(self, unit: Unit) -> bool:
        """Whether the start of this unit has to be reported. Decoding begins when all steps are
        done.
        """
        is_early = unit is Unit.DECODE and self.done[Stage.DENOISING] < len(self.tiles) * self.steps
        return not is_early and super().reports(unit)

    def restart(self, pixels: Pixels) -> None:
        super().restart(pixels)
        self._cut()

    def cut_smaller(self) -> bool:
        """Starts again with smaller tiles; False if they have the minimum size."""
        smaller = self.tile_size.smaller()
        if smaller is None:
            return False
        self.tile_size = smaller
        self.degrade("smaller_tiles")
        self._cut()
        return True

    def blend_for(self, channels: int, scale: int, device: torch.device) -> LatentBlend:
        """The blend to which tiles add their latents."""
        if self.blend is None:
            self.blend = LatentBlend(self.grid, channels, scale, device)
        return self.blend

    def develop(self, window: Window, levels: Levels) -> None:
        """Adds a tile's finished pixels."""
        if self.picture is None:
            height, width = self.pixels.shape[:2]
            self.picture = PictureBlend(self.grid, height, width)
        self.picture.add(window, levels)
        if self.picture.is_complete:
            self.finished = self.coloured(self.picture.picture)

    def _cut(self) -> None:
        height, width = self.pixels.shape[:2]
        self.grid = plan_tiles(height, width, self.tile_size)
        self.tiles = [TileRow.of(self, window) for window in self.grid.windows]
        self.waiting, self.out, self.rested = deque(self.tiles), [], []
        self.done.clear()
        self.draws = self.sample = self.previous = self.blend = self.picture = None

    def _end_phase(self, unit: Unit) -> None:
        assert self.blend is not None
        blended = self.blend.take()
        if unit is Unit.ENCODE:
            self.draws, self.sample = None, blended
        else:
            self._advance(blended)
        if self.rested[0].unit is Unit.DECODE:
            self.blend = self.previous = None
        order = {id(tile): place for place, tile in enumerate(self.tiles)}
        self.waiting = deque(sorted(self.rested, key=lambda tile: order[id(tile)]))
        self.rested = []

    def _advance(self, data: torch.Tensor) -> None:
        """The scheduler's step for the whole picture: it is linear in the tiles' predictions."""
        tile = self.rested[0]
        assert tile.plan is not None
        assert self.sample is not None
        _, _, a, b, c, n = (float(value) for value in tile.plan.table[tile.step - 1])
        self.sample.mul_(a).add_(data, alpha=b)
        if self.previous is not None:
            self.sample.add_(self.previous, alpha=c)
        if n and self.step_noise is not None:
            self.sample.add_(self.step_noise.at(tile.step - 1).to(self.sample), alpha=n)
        self.previous = data


@dataclass(eq=False, kw_only=True)
class TileRow(Row):
    """One tile. It shares the picture's reports with the whole: seconds, and what was given up."""

    whole: TiledRow
    window: Window
    has_stepped: bool = False

    @classmethod
    def of(cls, whole: TiledRow, window: Window) -> "TileRow":
        """A tile of a picture; its pixels are a view of the whole's, and end at the picture's
        edge.
        """
        return cls(
            job=whole.job,
            pixels=whole.pixels[window.at(1)],
            on_event=None,
            future=whole.future,
            adapters=whole.adapters,
            urgency=whole.urgency,
            owns_adapters=False,
            max_batch=whole.max_batch,
            seconds=whole.seconds,
            degraded=whole.degraded,
            ran_by=whole.ran_by,
            whole=whole,
            window=window,
        )

    def begin_phase(self) -> None:
        """Takes over the latents as changed by the other tiles."""
        whole, self.has_stepped = self.whole, False
        if whole.sample is None:
            return
        place = (..., *self.window.at(whole.grid.height // whole.sample.shape[-2]))
        latents = whole.sample[place].to(whole.dtype)
        self.latents = latents.contiguous(memory_format=torch.channels_last)
        self.previous = whole.previous[place] if whole.previous is not None else None

    def encoded(self, latents: torch.Tensor) -> None:
        super().encoded(latents)
        if self.whole.streams:
            return
        self.whole.dtype = latents.dtype
        self._blend(latents)
        # What is kept suffices to compute them again for decoding.
        self.source = self.padded = self.latents = None

    def stepped(self, latents: torch.Tensor, data: torch.Tensor) -> None:
        super().stepped(latents, data)
        self.has_stepped = True
        if not self.whole.streams:
            self._blend(data)
            self.latents = self.previous = None

    def pictured(self, tensor: torch.Tensor) -> Levels:
        return to_levels(tensor)

    def developed(self, picture: Any) -> None:
        self.whole.develop(self.window, picture)
        self.finished = self.pixels

    def let_go(self) -> None:
        """Drops everything that is no longer needed."""
        self.latents = self.previous = self.source = self.padded = self.reconstruction = None

    def tell_stage(self, unit: Unit) -> None:
        self.whole.tell_stage(unit)

    def fit_among(self, count: int) -> None:
        super().fit_among(count)
        for tile in [self.whole, *self.whole.tiles]:
            tile.max_batch = count

    def _blend(self, latents: torch.Tensor) -> None:
        scale = (self.window.bottom - self.window.top) // latents.shape[-2]
        blend = self.whole.blend_for(latents.shape[1], scale, latents.device)
        blend.add(self.window, latents)
