"""Many pictures on one device, one unit of work at a time.

A unit encodes rows, executes one denoising step of several, or decodes some; a picture larger than
the base's comfortable size is made of tiles, which are rows like any others. Between units the
engine checks everything again: arrivals, cancels, priorities. A preview therefore waits for one
unit at most, on a CPU for one layer, and rows may differ in step index, strength, guidance, prompt
and LoRA. Owns the device's thread; all work on the device runs there.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
import torch

from shared.errors import LeaseLost, OutOfMemory
from worker.engine.base.device_errors import translated
from worker.engine.base.device_lost import DeviceLost, WeightsChanged
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import USUAL_PIXELS, EngineLimits
from worker.engine.base.weights_guard import WeightsGuard
from worker.engine.built.engine_cache import EngineCache
from worker.engine.compiled.use import CompiledBlocks
from worker.engine.interface import (
    EngineJob,
    EngineResult,
    EnlargeJob,
    OnEvent,
    Pixels,
    PreviewReady,
    StepDone,
    Urgency,
)
from worker.engine.lora.lora_file import AdapterWeights, read_adapter
from worker.engine.lora.residency import Residency
from worker.engine.pixels import PREVIEW_SIDE, scaled_to_side, sized
from worker.engine.preview_job import as_preview
from worker.engine.step.enlarge_row import EnlargeRow, enlarge_row
from worker.engine.step.interruption import Interruption
from worker.engine.step.ladder import DoesNotFit, Ladder
from worker.engine.step.memory_recovery import MemoryRecovery
from worker.engine.step.policy import after_a_turn, batch_mates, next_row, score
from worker.engine.step.rows import Row, Unit
from worker.engine.step.tiled_rows import TiledRow, TileRow
from worker.engine.step.units import Units
from worker.engine.upscale.upscalers import Upscalers

logger = structlog.get_logger(__name__)

# A picture that does not fit is retried with sides smaller by this factor, down to a minimum side.
SHRINK = 0.75
LEAST_SIDE = 128

# On a CPU a unit of a large picture takes longer than a preview may wait. When previews have had
# theirs, this much of a unit is a job's turn.
TURN_SECONDS = 0.1


class StepEngine:
    """Keeps one base loaded and processes any number of pictures, step by step."""

    def __init__(
        self,
        loaded: LoadedBase,
        limits: EngineLimits,
        engine_cache: EngineCache | None = None,
        blocks: CompiledBlocks | None = None,
    ) -> None:
        self.base = loaded.base.id
        self.fingerprint = loaded.fingerprint
        self.device = str(loaded.device)
        self.profile = limits.profile
        self.rows = limits.rows_for(USUAL_PIXELS)
        self.small_rows = limits.rows_per_step
        self._limits = limits
        self._pipeline = loaded.pipeline
        self.adapters: Residency[AdapterWeights] = Residency(limits.adapter_bytes)
        self._blocks = blocks
        self._units = Units(loaded, limits, engine_cache, blocks)
        self._may_code_together = engine_cache is None  # built engines are for one picture
        self._guard = WeightsGuard(self._pipeline, self._units.merger.pristine)
        self._complaint: DeviceLost | None = None
        watch = None
        if loaded.device.type == "cpu":
            networks = (loaded.pipeline.unet, loaded.pipeline.vae)
            watch = Interruption(networks, self._let_previews_through).watch
        self.upscalers = Upscalers(loaded.device, watch)
        recovery = MemoryRecovery(self._units, self.adapters, self.upscalers, limits.profile)
        self._ladder = Ladder(recovery)
        self._rows: list[Row] = []
        self._at_work: list[Row] = []
        self._inbox: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._clock = 0
        self._previews_in_a_row = 0
        self._turn_began = 0.0
        self._closing = False
        self._door = threading.Lock()
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="lora")
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        future: Future[EngineResult] = Future()
        with self._door:
            if self._closing:
                future.set_exception(LeaseLost())
                return future
            reading = self._reading(job)
            row = self._row_of(job, on_event, future, reading)
            if job.preview:
                self._inbox.put(_preview_of(row, self.device))
            self._inbox.put(row)
        reading.add_done_callback(lambda _: self._inbox.put(None))
        return future

    def enlarge(self, job: EnlargeJob, on_event: OnEvent) -> "Future[EngineResult]":
        future: Future[EngineResult] = Future()
        with self._door:
            if self._closing:
                future.set_exception(LeaseLost())
                return future
            network = self._readers.submit(self.upscalers.hold, job.upscaler)
            self._inbox.put(enlarge_row(job, on_event, future, network))
        network.add_done_callback(lambda _: self._inbox.put(None))
        return future

    def _row_of(
        self,
        job: EngineJob,
        on_event: OnEvent,
        future: "Future[EngineResult]",
        reading: "Future[list[AdapterWeights]]",
    ) -> Row:
        """A row for the whole picture, or one that consists of tiles."""
        whole = Row(job, job.pixels, on_event, future, reading, job.urgency)
        size = self._limits.tile_size
        return whole if size.fits(*job.pixels.shape[:2]) else TiledRow.instead_of(whole, size)

    def residency(self) -> dict[str, Any]:
        """What is loaded where."""
        counts = self.adapters.counts
        return {
            "base": "on_device",
            "loras_in_ram": [weights.name for weights in self.adapters.items()],
            "ram_bytes": self.adapters.size_bytes,
            "hits": counts.hits,
            "misses": counts.misses,
            "evictions": counts.evictions,
            "load_seconds": round(counts.load_seconds, 4),
            **self._units.loras_on_device(),
            "upscalers": self.upscalers.names(),
            "weight_checks": self._guard.rounds,
            "compiled": self._blocks.shown() if self._blocks is not None else {"state": "off"},
        }

    def loaded_loras(self) -> list[str]:
        return list(map(str, self.adapters.keys()))

    def complaint(self) -> DeviceLost | None:
        return self._complaint

    def forget_loras(self) -> None:
        """Drops every LoRA that no job uses, so that the next job loads its own again.

        Only while no job is running: it runs in the caller's thread.
        """
        self._units.forget_loras()
        self.adapters.drop_unused()

    def close(self) -> None:
        with self._door:
            self._closing = True
            self._inbox.put(None)
        self._thread.join()
        self._readers.shutdown()
        if self._blocks is not None:
            self._blocks.close()

    def _reading(self, job: EngineJob) -> "Future[list[AdapterWeights]]":
        """The job's LoRAs; immediately if none has to be loaded, whatever others wait for."""
        known = set(self.adapters.keys()) if job.loras else set()
        if any(entry.weights_id not in known for entry, _ in job.loras):
            return self._readers.submit(self._read_adapters, job)
        held: Future[list[AdapterWeights]] = Future()
        try:
            held.set_result(self._read_adapters(job))
        except BaseException as error:
            held.set_exception(error)
        return held

    def _read_adapters(self, job: EngineJob) -> list[AdapterWeights]:
        """Runs beside the engine's steps. Every adapter is pinned until the row has left."""
        held: list[AdapterWeights] = []
        try:
            for entry, _ in job.loras:
                read = partial(read_adapter, self._pipeline, entry)
                held.append(self.adapters.pin(entry.weights_id, read))
        except BaseException:
            for entry, _ in job.loras[: len(held)]:
                self.adapters.unpin(entry.weights_id)
            raise
        return held

    def _loop(self) -> None:
        with torch.inference_mode():
            try:
                while self._turn():
                    pass
            except BaseException as error:
                logger.exception("the engine failed")
                self._complain(DeviceLost(f"the engine failed: {error!r}"))
                self._refuse_what_comes()

    def _refuse_what_comes(self) -> None:
        while not self._closing or not self._inbox.empty():
            self._take(self._inbox.get())

    def _turn(self) -> bool:
        """One check of everything and one unit of work, or a wait for work; False at the end."""
        if not self._admit():
            return False
        self._drop_stopped()
        row = self._next_row()
        if row is not None:
            self._work(row)
        if self._guard.is_due(idle=False):
            self._check_weights()
        return True

    def _check_weights(self) -> None:
        changed = self._guard.look()
        if changed is not None:
            self._complain(WeightsChanged(f"the base's weights have changed ({changed})"))

    def _complain(self, complaint: DeviceLost) -> None:
        """This engine's pictures would be worthless: no job gets one."""
        self._complaint = self._complaint or complaint
        logger.critical(
            "the engine can no longer make good pictures", reason=str(complaint), device=self.device
        )
        for row in list(self._rows):
            self._forsake(row, complaint)

    def _forsake(self, row: Row, complaint: DeviceLost) -> None:
        with suppress(BaseException):  # its future has the reason; the process ends anyway
            self._leave(row, complaint)

    def _admit(self) -> bool:
        """Takes in new arrivals, waiting if there is nothing to do; False at the end."""
        if self._closing and not self._rows and self._inbox.empty():
            return False
        if self._next_row() is None:
            while self._inbox.empty() and self._guard.is_due(idle=True):
                self._check_weights()
            self._take(self._inbox.get())
        self._take_arrivals()
        return True

    def _take_arrivals(self) -> None:
        while not self._inbox.empty():
            self._take(self._inbox.get())

    def _let_previews_through(self) -> None:
        """In the middle of a unit: runs previews that have arrived, as between two units."""
        self._take_arrivals()
        if time.monotonic() - self._turn_began >= TURN_SECONDS:
            self._previews_in_a_row = after_a_turn(self._previews_in_a_row)
        while (row := self._overtaking()) is not None:
            with self._units.aside():
                self._work(row)
            self._turn_began = time.monotonic()

    def _overtaking(self) -> Row | None:
        """The row that comes next, if it is a preview and not the one in progress."""
        self._drop_stopped(previews_only=True)
        row = self._next_row()
        if row is None or row in self._at_work or row.urgency is not Urgency.PREVIEW:
            return None
        return row

    def _next_row(self) -> Row | None:
        return next_row(self._rows, self._rows_with, self._previews_in_a_row)

    def _rows_with(self, row: Row) -> int:
        """How many rows may share a step with this one."""
        if row.urgency is Urgency.PREVIEW and self._limits.pixels_per_step:
            return 1  # sharing steps would only slow it down there
        return row.most_together(self._limits.rows_for(_pixel_count(row)))

    def _rows_coded_with(self, row: Row) -> int:
        """How many rows may be encoded or decoded together with this one."""
        if row.urgency is Urgency.PREVIEW or not self._may_code_together:
            return 1
        return row.most_together(self._limits.coded_together(_pixel_count(row)))

    def _take(self, row: Row | None) -> None:
        if row is None:
            return
        self._add(row)
        self._open_pictures()
        if self._complaint is not None:
            self._forsake(row, self._complaint)

    def _add(self, row: Row) -> None:
        row.arrived = self._clock
        self._rows.append(row)

    def _open_pictures(self) -> None:
        """Queues tiles, as many of each picture as may share a step. A tile is queued behind jobs
        that already wait, so that these go first; large pictures are made one after the other.
        """
        pictures = sorted((row for row in self._rows if isinstance(row, TiledRow)), key=score)
        is_taken = any(picture.is_open and picture.is_large for picture in pictures)
        for picture in pictures:
            if not picture.is_open and picture.is_large and is_taken:
                continue
            picture.is_open = True
            is_taken |= picture.is_large
            for tile in picture.next_tiles(self._rows_with(picture.tiles[0])):
                self._add(tile)

    def _drop_stopped(self, previews_only: bool = False) -> None:
        for row in list(self._rows):
            if previews_only and (row.urgency is not Urgency.PREVIEW or row in self._at_work):
                continue
            if row not in self._rows:
                continue  # a tile whose picture has left
            try:
                row.job.stop.check()
            except BaseException as reason:
                self._leave(row, reason)

    def _work(self, row: Row) -> None:
        self._clock += 1
        if row.urgency is Urgency.PREVIEW:
            self._previews_in_a_row += 1
        else:
            self._previews_in_a_row, self._turn_began = 0, time.monotonic()
        rows = [each for each in self._company(row) if self._begins(each)]
        if not rows:
            return
        before = [each.unit for each in rows]
        self._at_work += rows
        try:
            self._attempt(rows)
        finally:
            del self._at_work[-len(rows) :]
        for each, unit in zip(rows, before, strict=True):
            if isinstance(each, TileRow):
                self._move_on(each, unit)
            elif each.finished is not None:
                self._finish(each, each.finished)

    def _move_on(self, tile: TileRow, unit: Unit) -> None:
        """When a tile has done its unit, updates its picture's progress."""
        picture, has_moved = tile.whole, tile.unit is not unit or tile.finished is not None
        if tile not in self._rows or not (has_moved or tile.has_stepped):
            return
        picture.count(tile, unit)
        if tile not in picture.out:
            self._rows.remove(tile)
        self._tell_progress(picture, lambda: picture.tell_parts(unit))
        if picture.finished is not None:
            self._finish(picture, picture.finished)
        self._open_pictures()

    def _begins(self, row: Row) -> bool:
        """Reports the unit to the row's owner; a row that cannot continue, or whose owner fails,
        leaves.
        """
        try:
            row.check_ready()
            row.tell_stage(row.unit)
        except BaseException as error:
            self._leave(row, error)
            return False
        return True

    def _attempt(self, rows: Sequence[Row]) -> None:
        """Runs the rows' next unit; a row that fails in a batch must not fail the others."""
        before = [(row, row.unit, row.step) for row in rows]
        try:
            self._ladder.climb(rows, self._unit)
        except DoesNotFit as misfit:
            self._shrink(misfit.row)
        except BaseException as error:
            if len(rows) == 1:
                self._leave(rows[0], error)
                return
            for row, unit, step in before:
                is_undone = (row.unit, row.step) == (unit, step) and row.finished is None
                if is_undone and row in self._rows:
                    self._attempt([row])

    def _company(self, row: Row) -> list[Row]:
        steps = row.unit is Unit.STEP
        limit = self._rows_with(row) if steps else self._rows_coded_with(row)
        if limit == 1:
            return [row]
        buckets = [None if each in self._at_work else each.bucket for each in self._rows]
        return batch_mates(row, self._rows, buckets, limit)

    def _unit(self, rows: list[Row]) -> None:
        unit = rows[0].unit
        if isinstance(rows[0], EnlargeRow):
            self._units.enlarge(rows[0])
            # One tile, alternating with other work: it may be one of thousands.
            rows[0].arrived = self._clock
            self._tell_progress(rows[0], rows[0].tell_tile)
        elif unit is Unit.ENCODE:
            for row in rows:
                row.is_among_its_like = self._is_among_its_like(row)
            self._units.encode(rows)
        elif unit is Unit.STEP:
            self._units.step(rows)
            for row in rows:
                self._tell_step(row)
        else:
            for row, picture in zip(rows, self._units.decode(rows), strict=True):
                row.developed(picture)

    def _is_among_its_like(self, row: Row) -> bool:
        """Whether all jobs in progress have the same LoRAs as this one, and none uses LoRA slots.
        Previews are not counted.
        """
        coming = (each for each in self._rows if each.unit is not Unit.ENLARGE)
        jobs = [each for each in coming if each.urgency is not Urgency.PREVIEW]
        others = [each for each in jobs if each.adapter_set != row.adapter_set or each.pooled]
        return row in jobs and others in ([], [row])

    def _tell_step(self, row: Row) -> None:
        if isinstance(row, TileRow) or row.step <= row.steps_reported:
            return  # part of a picture's step, or repeated at a smaller size
        row.steps_reported = row.step
        self._tell_progress(row, lambda: row.tell(StepDone(row.step, row.total_steps)))

    def _tell_progress(self, row: Row, tell: Callable[[], None]) -> None:
        try:
            tell()
        except BaseException as error:
            # The unit is done, for its batch mates too: a row whose owner fails leaves before the
            # next unit.
            row.job.stop.stop(error)

    def _finish(self, row: Row, pixels: Pixels) -> None:
        self._release(row)
        self._guard.count_picture()
        if "smaller_side" in row.degraded:
            pixels = sized(pixels, *row.job.pixels.shape[:2])
        ran_by = {part: "+".join(sorted(ways)) for part, ways in row.ran_by.items()}
        row.future.set_result(EngineResult(pixels, tuple(row.degraded), row.seconds, ran_by))

    def _leave(self, row: Row, reason: BaseException) -> None:
        if isinstance(row, TileRow):
            row = row.whole
        try:
            self._release(row)
        finally:
            row.future.set_exception(translated(reason))

    def _release(self, row: Row) -> None:
        self._rows.remove(row)
        if isinstance(row, TiledRow):
            self._withdraw_tiles(row)
        self._units.leave(row)
        if row.owns_adapters and row.adapters.done() and row.adapters.exception() is None:
            for entry, _ in row.job.loras:
                self.adapters.unpin(entry.weights_id)
        if isinstance(row, EnlargeRow) and row.holds_network:
            self.upscalers.release(row.order.upscaler)

    def _shrink(self, row: Row) -> None:
        """After the last step of the ladder: smaller tiles, or a smaller picture, which is enlarged
        to its size at the end.
        """
        if isinstance(row, EnlargeRow):
            if not row.shrink():
                self._leave(row, OutOfMemory("the device cannot hold this picture"))
            return
        if self._cut_smaller(row):
            return
        row = row.whole if isinstance(row, TileRow) else row
        side = round(max(row.pixels.shape[:2]) * SHRINK)
        if side < LEAST_SIDE:
            self._leave(row, OutOfMemory("the device cannot hold this picture"))
            return
        logger.warning("out of memory", gave_up="smaller_side", side=side)
        if isinstance(row, TiledRow):
            self._withdraw_tiles(row)
        row.restart(scaled_to_side(row.pixels, side))
        row.degrade("smaller_side")
        self._open_pictures()

    def _cut_smaller(self, row: Row) -> bool:
        """Replaces this row by smaller tiles; False if there are none."""
        if isinstance(row, TileRow):
            picture = row.whole
            self._withdraw_tiles(picture)
            if not picture.cut_smaller():
                return False
        else:
            size = self._limits.tile_size.below(*row.pixels.shape[:2])
            if size is None:
                return False
            picture = TiledRow.instead_of(row, size)
            picture.degrade("smaller_tiles")
            self._units.leave(row)
            self._rows[self._rows.index(row)] = picture
        logger.warning("out of memory", gave_up="smaller_tiles", side=picture.tile_size.side)
        self._open_pictures()
        return True

    def _withdraw_tiles(self, picture: TiledRow) -> None:
        """Removes a picture's tiles from the queue."""
        for tile in picture.tiles:
            self._units.leave(tile)
            if tile in self._rows:
                self._rows.remove(tile)


def _pixel_count(row: Row) -> int:
    height, width, _ = row.pixels.shape
    return int(height * width)


def _preview_of(row: Row, device: str) -> Row:
    """A small row that goes first and whose result is an event of the large one."""
    small = scaled_to_side(row.pixels, PREVIEW_SIDE)
    job = as_preview(replace(row.job, pixels=small), device)
    future: Future[EngineResult] = Future()
    preview = Row(job, small, None, future, row.adapters, job.urgency, owns_adapters=False)

    def show(done: "Future[EngineResult]") -> None:
        if done.exception() is None:
            row.seconds["preview"] = sum(done.result().seconds.values())
            row.tell(PreviewReady(done.result().pixels))

    future.add_done_callback(show)
    return preview
