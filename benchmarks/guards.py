"""The guards' cost, and their false alarms on photos without anything that they look for.

    python -m benchmarks.guards [--side 512] [--jobs 8] [--rounds 3]

Photos are the samples of scikit-image and scikit-learn. Time of each guard alone; then the real
engine with two jobs at a time, as a worker has, alternating with and without guards: throughput,
and the latency of one job alone. Targets: 5 % of throughput, 150 ms of latency. Then every photo,
damaged in every way that a LoRA treats and enhanced with that LoRA: false alarms by guard.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.held_out import held_out_photos
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from shared.settings import REPOSITORY, Settings
from worker.engine.interface import Engine, EngineJob
from worker.engine.make_engine import make_engine
from worker.guards.codes import CodeGuard
from worker.guards.guard_loading import load_guards
from worker.guards.marks import MarkGuard
from worker.guards.panel import Comparison, Guards
from worker.guards.text import TextGuard
from worker.guards.unsafe import OpenNsfw
from worker.training.damage import RANGES, Pixels, degrade

TARGET_THROUGHPUT, TARGET_LATENCY_MS = 5.0, 150.0
IN_HAND = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("alone", "jobs", "alarms"))
    options = parser.parse_args()
    settings = Settings(engine="auto", device="cpu")
    photos = [photo[: options.side, : options.side] for photo in held_out_photos().values()]
    if options.only in (None, "alone"):
        alone(photos, options.rounds)
    if options.only == "alone":
        return
    engine, guards = make_engine(settings), load_guards(settings)
    try:
        if options.only in (None, "jobs"):
            side_by_side(engine, guards, photos, options.jobs, options.rounds)
        if options.only in (None, "alarms"):
            false_alarms(engine, guards, photos)
    finally:
        engine.close()
        guards.close()


def alone(photos: list[Pixels], rounds: int) -> None:
    """Median milliseconds of CPU time and wall-clock time for one picture, by guard.

    `text` and `marks` share one run of the network; `reading` is the time of `text` when it has to
    read.
    """
    text = TextGuard()
    comparing: dict[str, Comparison] = {"codes": CodeGuard(), "text": text, "marks": MarkGuard()}
    looks: dict[str, Callable[[Pixels], object]] = {
        "unsafe": OpenNsfw().score, "reading": text.read,
    }  # fmt: skip
    for name, guard in comparing.items():
        looks[name] = lambda photo, guard=guard: guard.added(photo, photo)
    for name, look in looks.items():
        rows = [timed(lambda photo=photo, look=look: look(photo)) for photo in photos * rounds]
        cpu, clock = (statistics.median(column) * 1000 for column in zip(*rows, strict=True))
        print(f"{name:8} {cpu:6.0f} ms of CPU {clock:6.0f} ms by the clock")


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds of this process' CPU time, and of wall-clock time."""
    cpu, clock = time.process_time(), time.perf_counter()
    action()
    return time.process_time() - cpu, time.perf_counter() - clock


def side_by_side(
    engine: Engine, guards: Guards, photos: list[Pixels], jobs: int, rounds: int
) -> None:
    """Throughput and latency with and without guards, alternating in this run."""
    off = Guards()
    work = [photos[number % len(photos)] for number in range(jobs)]
    seconds: dict[str, list[float]] = {"off": [], "on": []}
    latency: dict[str, list[float]] = {"off": [], "on": []}
    cpu = {"off": 0.0, "on": 0.0}
    one_job(engine, off, work[0])
    for _ in range(rounds):
        for name, panel in (("off", off), ("on", guards)):
            with ThreadPoolExecutor(IN_HAND) as hands:
                since, spent = time.perf_counter(), time.process_time()
                list(hands.map(lambda photo, panel=panel: one_job(engine, panel, photo), work))
                seconds[name].append(time.perf_counter() - since)
                cpu[name] += (time.process_time() - spent) / jobs / rounds
            for photo in work[:3]:
                latency[name].append(timed(lambda p=photo, g=panel: one_job(engine, g, p))[1])
    cost = 100 * (statistics.median(seconds["on"]) / statistics.median(seconds["off"]) - 1)
    added = 1000 * (statistics.median(latency["on"]) - statistics.median(latency["off"]))
    print(f"{IN_HAND} jobs in hand: {statistics.median(seconds['off']) / jobs:.3f} s a job without")
    more = 100 * (cpu["on"] / cpu["off"] - 1)
    print(
        f"CPU of a job: {cpu['off']:.2f} s without, {cpu['on']:.2f} s with guards ({more:+.1f} %)"
    )
    print(f"guards cost {cost:+.1f} % of throughput (target {TARGET_THROUGHPUT:g} %)")
    print(f"one job alone: {added:+.0f} ms of latency (target {TARGET_LATENCY_MS:g} ms)")


def one_job(engine: Engine, guards: Guards, photo: Pixels) -> None:
    """The order of an attempt: the input's guard, the engine, the output's guards."""
    guards.check_input(photo)
    made = engine.submit(job_for(photo, None), lambda _event: None).result()
    guards.check_output(photo, made.pixels)


def job_for(photo: Pixels, lora: LoraEntry | None, strength: float = 0.4) -> EngineJob:
    """A job with the defaults of the form."""
    return EngineJob(
        pixels=photo,
        prompt=(lora.prompt if lora else None) or "",
        negative_prompt="",
        strength=(lora.strength if lora else None) or strength,
        steps=10,
        guidance_scale=1.0,
        seed=7,
        loras=((lora, lora.default_scale),) if lora else (),
        fidelity=(lora.fidelity if lora else None) or "none",
        preview=False,
    )


def false_alarms(engine: Engine, guards: Guards, photos: list[Pixels]) -> None:
    """Alarms on enhanced photos without any added marks."""
    catalog = Catalog(REPOSITORY / "loras", engine.base)
    catalog.scan()
    loras = [entry for entry in catalog.entries() if entry.state is LoraState.AVAILABLE]
    random, flags, pictures = np.random.default_rng(0), Counter[str](), 0
    for kind, span in RANGES.items():
        treating = next(entry for entry in loras if kind in entry.treats)
        for level in (*span.measured, span.middle):
            for photo in photos:
                given = degrade(photo, kind, level, random)
                made = engine.submit(job_for(given, treating), lambda _event: None).result()
                flags.update(guards.check_output(given, made.pixels).safety.flags)
                pictures += 1
    print(f"{pictures} enhanced pictures: alarms {dict(flags) or 'none'}")


if __name__ == "__main__":
    main()
