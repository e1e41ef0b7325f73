"""How many rows should share a step on this machine's processor.

`python -m benchmarks.rows [--side 128] [--pictures 8] [--rounds 4]`: the engine alone with one, two
and four rows a step, beside diffusers' loop with the LoRA in PEFT, one picture at a time and in
batches of four. One LoRA, the embedded base. Arms take turns in a new order; processor time and the
clock, and the median of the rounds' own ratios to the bare loop.
"""

import argparse
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.machine import describe_machine
from benchmarks.peer_servers.pipeline import PROMPT, STEPS, STRENGTH, Pipeline, Wish
from benchmarks.peers import copies
from benchmarks.service import photo
from shared.loras.catalog import Catalog
from worker.engine.interface import EngineJob
from worker.engine.loading import load_base
from worker.engine.profiles import choose_limits
from worker.engine.step_engine import StepEngine

BARE = "bare loop"
Arm = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    print(f"{describe_machine()}; {torch.get_num_threads()} threads; {options.side} px\n")
    with tempfile.TemporaryDirectory() as folder:
        loras = copies(Path(folder), 1)
        catalog = Catalog(loras, "tiny")
        catalog.scan()
        (entry,) = catalog.entries()
        data = photo(options.side)
        wishes = [Wish(data, entry.path.stem, seed) for seed in range(options.pictures)]
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        jobs = [
            EngineJob(pixels, PROMPT, "", STRENGTH, STEPS, 1.0, wish.seed, ((entry, 1.0),))
            for wish in wishes
        ]
        engines = {rows: _engine(rows) for rows in (1, 2, 4)}
        pipeline = Pipeline(loras)
        arms: dict[str, Arm] = {BARE: _bare(pipeline, wishes, 1)}
        arms["bare loop, batches of four"] = _bare(pipeline, wishes, 4)
        arms |= {f"engine, rows a step: {n}": _through(e, jobs) for n, e in engines.items()}
        show(measured(arms, options.rounds), options.pictures)
        for engine in engines.values():
            engine.close()


def _engine(rows: int) -> StepEngine:
    loaded = load_base("models/tiny", torch.device("cpu"))
    return StepEngine(loaded, replace(choose_limits(loaded), rows_per_step=rows, pixels_per_step=0))


def _through(engine: StepEngine, jobs: list[EngineJob]) -> Arm:
    def run() -> None:
        for future in [engine.submit(replace(job, preview=False), lambda _: None) for job in jobs]:
            future.result()

    return run


def _bare(pipeline: Pipeline, wishes: list[Wish], batch: int) -> Arm:
    def run() -> None:
        for start in range(0, len(wishes), batch):
            pipeline.pictures(wishes[start : start + batch])

    return run


def measured(arms: dict[str, Arm], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Processor seconds and the clock's of each arm, round by round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for run in arms.values():
        run()  # warm
    for _ in range(rounds):
        for name in random.sample(list(arms), len(arms)):
            spent, clock = time.process_time(), time.perf_counter()
            arms[name]()
            times[name].append((time.process_time() - spent, time.perf_counter() - clock))
    return times


def show(times: dict[str, list[tuple[float, float]]], pictures: int) -> None:
    print("| arm | processor, ms a picture | clock, ms a picture | of the bare loop |")
    print("| --- | --- | --- | --- |")
    for name, rows in times.items():
        spent, clock = (statistics.median(column) for column in zip(*rows, strict=True))
        pairs = zip(rows, times[BARE], strict=True)
        ratio = statistics.median(own[1] / bare[1] for own, bare in pairs)
        each = 1000 / pictures
        print(f"| {name} | {spent * each:.0f} | {clock * each:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
