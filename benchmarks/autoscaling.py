"""A day of arrivals, replayed against a real gateway whose workers follow the queue from zero.

Owns the replay: `python -m benchmarks.autoscaling`. An hour takes twelve seconds. The workers have
the fake engine, so that steps take a set time; store, gateway, ledger, workers and what the scaler
reads (`/metrics`) are real. Decisions are KEDA's: from zero to one as soon as a job is there, then
what the HorizontalPodAutoscaler makes of the average per worker, and zero after the cooldown.
A Prometheus scrapes the gateway meanwhile, and `benchmarks.board` draws the board from it.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import board
from benchmarks.service import photo
from retouch import Client
from retouch.stack.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = REPOSITORY / "out/autoscaling.json"
PLOT = REPOSITORY / "docs/autoscaling.png"
# Jobs per hour of a small team: nobody at night, two busy times, a batch before midnight.
DAY = (0, 0, 0, 0, 0, 0, 2, 6, 14, 20, 22, 12, 8, 16, 20, 14, 8, 4, 2, 6, 8, 2, 24, 0)
# As in deploy/helm/retouch/values.yaml, but for cooldown and polling, which fit the short day.
JOBS_PER_WORKER, MOST_WORKERS, COOLDOWN_SECONDS, POLLING_SECONDS = 4, 3, 8.0, 1.0
HOUR_SECONDS = 12.0
STEP_SECONDS = 0.25


@dataclass
class Scaler:
    """Says how many workers there should be; `now` is any clock in seconds."""

    target: int = JOBS_PER_WORKER
    most: int = MOST_WORKERS
    cooldown: float = COOLDOWN_SECONDS
    _active_at: float = -math.inf
    _wanted: list[tuple[float, int]] = field(default_factory=list)

    def desired(self, unfinished: int, now: float) -> int:
        """Never fewer than any moment of the cooldown wanted, as a stabilisation window does."""
        if unfinished > 0:
            self._active_at = now
        self._wanted.append((now, min(self.most, math.ceil(unfinished / self.target))))
        self._wanted = [(at, count) for at, count in self._wanted if now - at <= self.cooldown]
        if now - self._active_at > self.cooldown:
            return 0
        return max(1, *(count for _, count in self._wanted))


@dataclass
class Sample:
    """What the scaler saw, and how many workers ran, at one moment of the day."""

    hour: float
    unfinished: int
    running_workers: int
    wanted: int


class Workers:
    """Worker processes of this machine, as a cluster would have pods."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []
        self._stopping: list[subprocess.Popen[bytes]] = []

    def scale_to(self, count: int) -> None:
        """Starts workers, or tells the youngest to stop, which finish or return their jobs."""
        while len(self._running) < count:
            with self._log.open("ab") as file:
                command = [sys.executable, "-m", "worker"]
                started = subprocess.Popen(
                    command, env=self._environment, stdout=file, stderr=file, cwd=REPOSITORY
                )
            self._running.append(started)
        while len(self._running) > count:
            stopped = self._running.pop()
            stopped.terminate()
            self._stopping.append(stopped)
        self._stopping = [process for process in self._stopping if process.poll() is None]

    @property
    def count(self) -> int:
        return len(self._running)

    def close(self) -> None:
        self.scale_to(0)
        for process in self._stopping:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)


@contextmanager
def running_gateway(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A store and a gateway without workers; the address, and the environment of a worker."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    inherited = {name: text for name, text in os.environ.items() if "RETOUCH_" not in name}
    own = {
        "RETOUCH_ENGINE": "fake",
        "RETOUCH_GUARDS": "off",
        "RETOUCH_GATE": "off",
        "RETOUCH_FAKE_STEP_SECONDS": str(STEP_SECONDS),
        "RETOUCH_ADMISSION_WINDOW": "2",
        "RETOUCH_DATA_DIR": str(folder / "data"),
        "RETOUCH_API_KEYS": "user=u,scaler=s:metrics",
    }
    retouch = str(Path(sys.executable).with_name("retouch"))
    command = [
        retouch,
        "up",
        "--workers",
        "0",
        "--port",
        str(port),
        "--data-dir",
        own["RETOUCH_DATA_DIR"],
    ]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, env=inherited | own, stdout=log, stderr=log)
        try:
            _wait_for(f"{url}/readyz")
            store = (folder / "data/store.url").read_text()
            yield url, inherited | own | {"RETOUCH_REDIS_URL": store}
        finally:
            process.terminate()
            process.wait(60)


def unfinished_jobs(url: str) -> int:
    """What KEDA's scaler reads, with the key that opens nothing else."""
    answer = httpx2.get(f"{url}/metrics", headers={"X-API-Key": "s"}, timeout=60).raise_for_status()
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name == "retouch_unfinished_jobs":
                return int(sample.value)
    return 0


def replay(
    day: Sequence[int], folder: Path, hour_seconds: float = HOUR_SECONDS
) -> dict[str, object]:
    """Replays a day, waits until the fleet is at zero again, and returns what happened."""
    samples, ids = list[Sample](), list[str]()
    with ExitStack() as stack:
        url, environment = stack.enter_context(running_gateway(folder))
        workers = Workers(environment, folder / "workers.log")
        stack.callback(workers.close)
        prometheus = stack.enter_context(board.scraping(url.removeprefix("http://"), "s", folder))
        sender = threading.Thread(target=_send, args=(url, day, hour_seconds, ids))
        sender.start()
        scaler, began, born = Scaler(), time.monotonic(), time.time()
        while True:
            now = time.monotonic() - began
            unfinished = unfinished_jobs(url)
            wanted = scaler.desired(unfinished, now)
            samples.append(Sample(now / hour_seconds, unfinished, workers.count, wanted))
            workers.scale_to(wanted)
            samples[-1].running_workers = workers.count
            if not sender.is_alive() and unfinished == 0 and workers.count == 0:
                break
            time.sleep(POLLING_SECONDS)
        sender.join()
        with Client(url, "u") as client:
            jobs = [client.job(job_id) for job_id in ids]
        panels, alerts = board.draw(prometheus), prometheus.alerts()
    waits = [
        ((job.created_at.timestamp() - born) / hour_seconds, job.timings["queued_seconds"])
        for job in jobs
        if job.created_at is not None
    ]
    summary = _summary(samples, [str(job.state) for job in jobs], waits)
    return summary | {"series_by_panel": panels, "alerts": alerts}


def _send(url: str, day: Sequence[int], hour_seconds: float, ids: list[str]) -> None:
    draws, picture = random.Random(7), photo(64)
    at = sorted(
        (hour + draws.random()) * hour_seconds for hour, n in enumerate(day) for _ in range(n)
    )
    began = time.monotonic()
    with Client(url, "u") as client:
        for moment in at:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            ids.append(client.submit(picture, lora="none", upscale=1).id)
    time.sleep(max(0.0, began + len(day) * hour_seconds - time.monotonic()))


def _summary(
    samples: list[Sample], states: list[str], waits: list[tuple[float, float]]
) -> dict[str, object]:
    waited = sorted(seconds for _, seconds in waits)
    return {
        "jobs": len(states),
        "succeeded": states.count("succeeded"),
        "most_workers": max(sample.running_workers for sample in samples),
        "at_the_end": samples[-1].running_workers,
        "share_at_zero": round(sum(s.running_workers == 0 for s in samples) / len(samples), 3),
        "waited_seconds": {
            name: round(waited[min(len(waited) - 1, int(len(waited) * share))], 2)
            for name, share in (("p50", 0.5), ("p90", 0.9), ("max", 1.0))
        },
        "samples": [vars(sample) for sample in samples],
        "waits": waits,
    }


def draw(figures: dict[str, object]) -> None:
    """The day as a picture: jobs, workers, and how long each job waited."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    samples: list[dict[str, float]] = figures["samples"]  # type: ignore[assignment]
    waits: list[tuple[float, float]] = figures["waits"]  # type: ignore[assignment]
    hours = [sample["hour"] for sample in samples]
    figure, (queue, workers, waiting) = plt.subplots(3, 1, figsize=(9, 6), sharex=True)
    queue.step(hours, [s["unfinished"] for s in samples], where="post", color="#2563eb")
    queue.set_ylabel("unfinished jobs")
    workers.step(hours, [s["running_workers"] for s in samples], where="post", color="#16a34a")
    workers.set_ylabel("workers")
    waiting.scatter([at for at, _ in waits], [wait for _, wait in waits], s=8, color="#b45309")
    waiting.set_ylabel("seconds waited")
    waiting.set_xlabel(f"hour of the day (one takes {HOUR_SECONDS:g} s)")
    figure.tight_layout()
    figure.savefig(PLOT, dpi=110)


def _wait_for(url: str) -> None:
    for _ in range(600):
        with suppress(httpx2.HTTPError):
            if httpx2.get(url, timeout=2).status_code == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"{url} did not become ready")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with TemporaryDirectory() as folder:
        figures = replay(DAY, Path(folder))
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures))
    draw(figures)
    print({name: value for name, value in figures.items() if name not in ("samples", "waits")})


if __name__ == "__main__":
    main()
