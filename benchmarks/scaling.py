"""What a job's cost depends on, and what it does not.

`python -m benchmarks.scaling`: the engine alone over pixels and over steps (time per pixel and per
step should be constant), round by round; then the ledger's share of a job with 10 and 10,000 jobs
waiting. benchmarks/catalogue.py measures the cost of 1,000 LoRAs in the folder.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage import data

from benchmarks.machine import describe_machine
from shared.jobs import Progress, Stage, Timings
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.embedded_store import running_store
from tests.support.jobs import make_result, make_spec
from worker.engine.base.base_loading import load_base
from worker.engine.base.profiles import choose_limits
from worker.engine.interface import EngineJob, Pixels
from worker.engine.step.step_engine import StepEngine

SIDES = (128, 256, 384, 512)
STEPS = (2, 4, 8)
ROUNDS = 5
WAITING = (10, 10_000)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(describe_machine())
    over_pixels_and_steps()
    over_waiting_jobs()


def over_pixels_and_steps() -> None:
    loaded = load_base("models/tiny", torch.device("cpu"), "auto")
    engine = StepEngine(loaded, choose_limits(loaded))
    arms = {(side, 4): _runner(engine, side, 4) for side in SIDES}
    arms |= {(256, steps): _runner(engine, 256, steps) for steps in STEPS}
    print("\n| side, px | executed steps | s | ns per pixel and step |\n| --- | --- | --- | --- |")
    for (side, steps), seconds in rounds(arms).items():
        each = seconds / side**2 / steps * 1e9
        print(f"| {side} | {steps} | {seconds:.3f} | {each:.0f} |")
    engine.close()


def _runner(engine: StepEngine, side: int, steps: int) -> Callable[[], object]:
    photo = np.asarray(data.astronaut())[:side, :side].copy()
    seeds = iter(range(10**6))

    def run() -> object:
        changed: Pixels = photo.copy()
        changed[0, 0] = next(seeds) % 256  # another source: nothing is in the cache
        job = EngineJob(changed, "a photo", "", 1.0, steps, 1.0, seed=1, preview=False)
        return engine.submit(job, lambda _: None).result()

    return run


def over_waiting_jobs() -> None:
    print("\n| jobs waiting | submit, claim, 4 reports, commit, ms |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as folder, running_store(Path(folder)) as url:
        settings = Settings(redis_url=url, queue_limit=20_000, _env_file=None)  # type: ignore[call-arg]
        store = JobStore(connect(url), settings)
        waiting = 0
        for count in WAITING:
            while waiting < count:
                store.submit(make_spec(client=f"c{waiting % 50}"))
                waiting += 1
            print(f"| {count} | {_median([_ledger_share(store) for _ in range(100)]) * 1000:.2f} |")


def _ledger_share(store: JobStore) -> float:
    """Adds one job to the queue and finishes one."""
    spec = make_spec(client="measured")
    started = time.perf_counter()
    store.submit(spec)
    claim = store.claim("tiny", "w")
    assert claim is not None
    for step in range(1, 5):
        progress = Progress(percent=step * 20.0, step=step, total_steps=4, stage=Stage.DENOISING)
        store.report_progress(claim, progress)
    store.commit(
        claim, make_result(), Progress(percent=100.0, step=4, total_steps=4), Timings(), []
    )
    return time.perf_counter() - started


def rounds(arms: dict[tuple[int, int], Callable[[], object]]) -> dict[tuple[int, int], float]:
    times: dict[tuple[int, int], list[float]] = {name: [] for name in arms}
    for run in arms.values():
        run()
    for _ in range(ROUNDS):
        for name, run in arms.items():
            times[name].append(_timed(run))
    return {name: _median(seconds) for name, seconds in times.items()}


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
