"""What it is worth that workers take the jobs whose LoRAs they have loaded.

`python -m benchmarks.affinity [--jobs 400] [--loras 60] [--load 0.9]`: three workers with the fake
engine on a real store draw the same trace twice, in order and by affinity. LoRAs are as popular as
Zipf's law says, arrivals are random. Each worker keeps a few LoRAs and takes time to load another.
"""

import argparse
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from rich.console import Console
from rich.table import Table

from shared.jobs import Claim, JobSpec, Progress, Result, Source, Timings
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore, MustRunAlone
from shared.loras.entry import LoraEntry
from shared.params import JobParams, LoraRef
from shared.settings import Settings
from tests.support.embedded_store import running_store
from worker.engine.interface import EngineJob
from worker.engine.testing.fake import FakeEngine

WORKERS = 3
# Claims that a worker holds at a time: the one at work, and the next one.
WINDOW = 2
STEPS, STEP_SECONDS = 4, 0.02
LOAD_SECONDS, SLOTS = 0.15, 8
LOOK_SECONDS = 0.004
SEED = 2026


@dataclass
class Outcome:
    """What one run of the trace gave."""

    hits: int = 0
    misses: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def hit_rate(self) -> float:
        return self.hits / max(1, self.hits + self.misses)


@dataclass(frozen=True)
class Trace:
    """When which LoRA is asked for."""

    pauses: list[float]
    loras: list[int]


def make_trace(jobs: int, loras: int, load: float) -> Trace:
    """Poisson arrivals at a share of what the workers can do without loading anything."""
    chance = random.Random(SEED)
    rate = load * WORKERS / (STEPS * STEP_SECONDS)
    weights = [1 / rank for rank in range(1, loras + 1)]
    return Trace(
        [chance.expovariate(rate) for _ in range(jobs)],
        chance.choices(range(loras), weights, k=jobs),
    )


class Worker:
    """Claims and runs jobs in a few threads until the trace has ended."""

    def __init__(self, store: JobStore, name: str, by_affinity: bool, told: Outcome) -> None:
        self._store = store
        self._name = name
        self._by_affinity = by_affinity
        self._told = told
        self._engine = FakeEngine("tiny", STEP_SECONDS, lora_seconds=LOAD_SECONDS, lora_slots=SLOTS)
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=self._loop) for _ in range(WINDOW)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        self._engine.close()
        counts = self._engine.residency()
        self._told.hits += counts["hits"]
        self._told.misses += counts["misses"]

    def _loop(self) -> None:
        while not self.stopping.is_set():
            claim = self._claim()
            if claim is None:
                time.sleep(LOOK_SECONDS)
            else:
                self._run(claim)

    def _claim(self) -> Claim | None:
        loaded = self._engine.loaded_loras() if self._by_affinity else None
        try:
            return self._store.claim("tiny", self._name, loaded=loaded)
        except MustRunAlone:
            return None

    def _run(self, claim: Claim) -> None:
        self._engine.submit(engine_job(claim), lambda _event: None).result()
        result = Result(blob="x", width=8, height=8, format="png", size_bytes=1, sha256="0" * 64)
        self._store.commit(claim, result, Progress(percent=100.0), Timings(), [])
        job = self._store.get(claim.spec.id)
        assert job.finished_at is not None
        self._told.seconds.append((job.finished_at - job.created_at).total_seconds())


def engine_job(claim: Claim) -> EngineJob:
    """The job's steps, with entries that stand for its LoRAs."""
    entries = tuple((entry_of(ref), 1.0) for ref in claim.spec.params.loras)
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    return EngineJob(pixels, "", "", 1.0, STEPS, 1.0, 0, entries, preview=False)


def entry_of(ref: LoraRef) -> LoraEntry:
    facts: dict[str, Any] = {"name": ref.name, "sha256": ref.sha256}
    return LoraEntry.model_construct(**facts)


def spec_of(lora: int) -> JobSpec:
    ref = LoraRef(name=f"lora-{lora}", sha256=f"{lora:064x}"[::-1])
    return JobSpec(
        id=uuid4().hex,
        client=f"client-{lora % 7}",
        base="tiny",
        source=Source(image_id="0" * 64, blob="x", width=8, height=8, size_bytes=1),
        params=JobParams(seed=1, loras=[ref]),
    )


def run(store: JobStore, trace: Trace, by_affinity: bool) -> Outcome:
    """The trace with three new workers."""
    told = Outcome()
    workers = [Worker(store, f"w{n}-{by_affinity}", by_affinity, told) for n in range(WORKERS)]
    for worker in workers:
        store._redis.set(f"worker:w{workers.index(worker)}-{by_affinity}", "", ex=600)
        worker.start()
    due = time.monotonic()
    for pause, lora in zip(trace.pauses, trace.loras, strict=True):
        due += pause
        time.sleep(max(0.0, due - time.monotonic()))
        store.submit(spec_of(lora))
    while len(told.seconds) < len(trace.loras):
        time.sleep(0.05)
    for worker in workers:
        worker.stop()
    return told


def main() -> None:
    options = _options()
    trace = make_trace(options.jobs, options.loras, options.load)
    table = Table("order", "LoRA already loaded", "p50 s", "p95 s", "longest s")
    with tempfile.TemporaryDirectory() as folder, running_store(Path(folder)) as url:
        store = JobStore(connect(url), Settings(redis_url=url, _env_file=None))  # type: ignore[call-arg]
        for by_affinity in (False, True):
            found = run(store, trace, by_affinity)
            p50, p95 = np.percentile(found.seconds, [50, 95])
            table.add_row(
                "by affinity" if by_affinity else "as they came",
                f"{found.hit_rate:.0%}",
                f"{p50:.2f}",
                f"{p95:.2f}",
                f"{max(found.seconds):.2f}",
            )
    Console().print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--loras", type=int, default=60)
    parser.add_argument("--load", type=float, default=0.7, help="share of the workers' steps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
