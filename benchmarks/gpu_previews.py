"""Previews beside a device that always has work: how long one takes, and its limit.

The limit is one step of the jobs, the preview's own time on an idle device, and 30 ms. Part of
benchmarks/gpu.py, with the engine alone: no gateway, no files.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from skimage import data

from benchmarks.load import quantile
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import choose_limits
from worker.engine.interface import EngineJob
from worker.engine.pixels import scaled_to_side
from worker.engine.preview_job import as_preview
from worker.engine.step.step_engine import StepEngine

SIDE = 256
COUNT = 60
GRACE_SECONDS = 0.03
PAUSE_SECONDS = 0.05


def show_previews(base: LoadedBase, side: int) -> None:
    """Prints the times of previews on an idle device and beside as many jobs as share a step."""
    photo = np.asarray(data.astronaut())
    job = EngineJob(scaled_to_side(photo, side), "a photo", "", 1.0, 20, 7.5, 1, preview=False)
    small = replace(job, pixels=scaled_to_side(photo, SIDE), strength=0.4)
    small = as_preview(small, str(base.device))
    engine = StepEngine(base, choose_limits(base))
    try:
        previews(engine, small, 12)  # captures the shapes
        with company(engine, job):
            previews(engine, small, 12)
        idle = previews(engine, small, COUNT)
        with company(engine, job) as steps:
            beside = previews(engine, small, COUNT)
        step = statistics.median(steps)
    finally:
        engine.close()
    bound = step + statistics.median(idle) + GRACE_SECONDS
    print("| previews | p50, ms | p95, ms | may take, ms |\n| --- | --- | --- | --- |")
    print(f"| idle | {_cells(idle)} | |")
    print(f"| beside {engine.rows} jobs of {side} px | {_cells(beside)} | {bound * 1000:.1f} |\n")


def previews(engine: StepEngine, small: EngineJob, count: int) -> list[float]:
    """Seconds of each, one after the other; the source is in the cache, as with a slider."""
    spent = []
    for seed in range(count):
        started = time.perf_counter()
        engine.submit(replace(small, seed=seed), lambda _: None).result()
        spent.append(time.perf_counter() - started)
        time.sleep(PAUSE_SECONDS)
    return spent


@contextmanager
def company(engine: StepEngine, job: EngineJob) -> Iterator[list[float]]:
    """Keeps as many jobs running as share a step, replacing those that are done; appends the
    seconds between two steps of one of them.
    """
    done, steps = threading.Event(), list[float]()

    def keep_busy(number: int) -> None:
        last = [0.0]

        def heard(_event: object) -> None:
            now, before = time.perf_counter(), last[0]
            last[0] = now
            if number == 0 and before:
                steps.append(now - before)

        while not done.is_set():
            last[0] = 0.0
            engine.submit(replace(job, seed=number), heard).result()

    threads = [threading.Thread(target=keep_busy, args=(n,)) for n in range(engine.rows)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    try:
        yield steps
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _cells(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} | {quantile(seconds, 0.95) * 1000:.1f}"
