"""An enlargement from its first tile to its last, for an engine that runs one job at a time."""

import time

import torch

from shared.errors import OutOfMemory
from worker.engine.interface import EngineResult, EnlargeJob, OnEvent, TileDone
from worker.engine.upscale.enlarging import Enlarging
from worker.engine.upscale.upscalers import Upscalers


def enlarge(job: EnlargeJob, on_event: OnEvent, upscalers: Upscalers) -> EngineResult:
    """Enlarges the picture. Raises the stop flag's reason between two tiles, OutOfMemory, and the
    errors of loading.
    """
    started = time.perf_counter()
    loaded = upscalers.hold(job.upscaler)
    degraded: tuple[str, ...] = ()
    try:
        work = Enlarging(job.pixels, job.factor, loaded)
        while work.result is None:
            job.stop.check()
            if not _fits(work):
                degraded = ("smaller_tiles",)
            on_event(TileDone(work.done, work.total))
        picture = work.result
    finally:
        upscalers.release(job.upscaler)
    return EngineResult(picture, degraded, {"enlarging": time.perf_counter() - started})


def _fits(work: Enlarging) -> bool:
    """Runs one tile; if it does not fit on the device, continues with smaller ones."""
    try:
        work.step()
    except torch.OutOfMemoryError as error:
        if not work.shrink():
            raise OutOfMemory("the device has no memory left for a tile") from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
    return True
