"""A folder of many small pictures through `retouch enhance -r`, with processes killed on the way.

    python -m benchmarks.folders [--photos 10000] [--workers 2] [--kills 2] [--engine fake|step]

Starts `retouch up`. The command and the workers' engine processes are each killed (SIGKILL) as
often as `--kills` says, at random moments; the command is started again each time. Prints what
became of the photos, the number of jobs and attempts, and the memory of each process over time.
With the fake engine, which inverts the picture, the service and the command are what is measured.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import psutil
from PIL import Image

from benchmarks.machine import describe_machine
from benchmarks.service import running_service

RETOUCH = str(Path(sys.executable).with_name("retouch"))
FOLDERS = 40
LOOK_SECONDS = 0.25
MEMORY_EVERY = 20
SIZE = 48, 40


@dataclass
class Watched:
    """The largest memory of a kind of process in each tenth of the work, in MiB."""

    tenths: dict[str, dict[int, float]] = field(default_factory=dict)

    def note(self, kind: str, tenth: int, process: psutil.Process) -> None:
        try:
            used = process.memory_info().rss / 2**20
        except psutil.Error:
            return
        seen = self.tenths.setdefault(kind, {})
        seen[tenth] = max(used, seen.get(tenth, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--engine", choices=("fake", "step"), default="fake")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    environment = {
        "RETOUCH_ENGINE": asked.engine,
        "RETOUCH_FAKE_STEP_SECONDS": "0",
        "RETOUCH_GUARDS": "off",
        "RETOUCH_LOG_LEVEL": "warning",
    }
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "in", asked.photos)
        before = digests(folder / "in")
        options = ("--workers", str(asked.workers))
        with running_service(folder, environment, *options) as (url, process):
            run = Run(folder, url, psutil.Process(process), random.Random(asked.seed))
            run.do(asked.photos, asked.kills)
            report(run, before, asked.photos)


def write_photos(folder: Path, count: int) -> None:
    """Small noisy pictures, each with a content of its own, in a tree of folders."""
    draw = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"{number % FOLDERS:02}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:05}.png", compress_level=1)


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file below the folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


class Run:
    """The command, started again whenever it was killed, and the killing."""

    def __init__(
        self, folder: Path, url: str, service: psutil.Process, chance: random.Random
    ) -> None:
        self.folder = folder
        self.url = url
        self.watched = Watched()
        self.starts = 0
        self.seconds = 0.0
        self.said: list[str] = []
        self._service = service
        self._chance = chance

    @property
    def journal(self) -> Path:
        return self.folder / "out" / ".retouch.jsonl"

    def do(self, photos: int, kills: int) -> None:
        """Runs until every photo is done."""
        moments = sorted(
            (int(self._chance.uniform(0.05, 0.9) * photos), what)
            for what in ("command", "worker")
            for _ in range(kills)
        )
        began = time.perf_counter()
        while True:
            command = self._start()
            self._watch(command, photos, moments)
            if command.poll() == 0:
                break
            if command.returncode != -signal.SIGKILL:
                raise SystemExit(f"the command ended with {command.returncode}")
        self.seconds = time.perf_counter() - began

    def _start(self) -> "subprocess.Popen[bytes]":
        self.starts += 1
        arguments = ["enhance", str(self.folder / "in"), "-r", "-o", str(self.folder / "out")]
        return subprocess.Popen(
            [RETOUCH, *arguments, "-l", "none", "--upscale", "1"],
            env=os.environ | {"RETOUCH_URL": self.url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _watch(
        self, command: "subprocess.Popen[bytes]", photos: int, moments: list[tuple[int, str]]
    ) -> None:
        looks = 0
        while command.poll() is None:
            done = sum(1 for _ in self._lines())
            if looks % MEMORY_EVERY == 0:
                self._note_memory(command.pid, min(9, 10 * done // photos))
            looks += 1
            if moments and done >= moments[0][0]:
                _, what = moments.pop(0)
                self.said.append(f"{what} killed after {done} photos")
                if what == "command":
                    command.kill()
                    command.wait()
                    return
                self._chance.choice(self._engines()).kill()
            time.sleep(LOOK_SECONDS)

    def _lines(self) -> Iterator[bytes]:
        if self.journal.exists():
            with self.journal.open("rb") as file:
                yield from file

    def _engines(self) -> list[psutil.Process]:
        children = self._service.children(recursive=True)
        return [child for child in children if "worker.process.engine_child" in child.cmdline()]

    def _note_memory(self, command: int, tenth: int) -> None:
        self.watched.note("command", tenth, psutil.Process(command))
        for child in self._service.children(recursive=True):
            try:
                words = " ".join(child.cmdline())
            except psutil.Error:
                continue
            if "-m api" in words:
                self.watched.note("gateway", tenth, child)
            elif "engine_child" in words:
                self.watched.note("worker", tenth, child)


def report(run: Run, before: dict[str, str], photos: int) -> None:
    """Prints the figures, and ends with 1 if a photo was lost, made twice or touched."""
    lines = [json.loads(line) for line in run.journal.read_text().splitlines() if line]
    by_photo = Counter(line["photo"] for line in lines if not line["error"])
    made = digests(run.folder / "out")
    counted = metrics(run.url)
    untouched = digests(run.folder / "in") == before
    print(f"{photos} photos of {SIZE[0]} x {SIZE[1]} in {FOLDERS} folders: {run.seconds:.0f} s")
    print(f"  {photos / run.seconds:.1f} a second; {run.starts} starts of the command")
    print("  " + "; ".join(run.said))
    print(f"  pictures {len(made)}, of them made once {sum(n == 1 for n in by_photo.values())}")
    for name in ("retouch_jobs_submitted_total", "retouch_attempts_total"):
        print(f"  {name} {counted.get(name, 0):.0f}")
    print(f"  originals unchanged: {'yes' if untouched else 'NO'}")
    for kind, tenths in run.watched.tenths.items():
        row = " ".join(f"{tenths[tenth]:.0f}" for tenth in sorted(tenths))
        print(f"  MiB of the {kind}, by tenths: {row}")
    complete = len(made) == photos == len(by_photo) and set(by_photo.values()) == {1}
    if not (complete and untouched):
        raise SystemExit(1)


def metrics(url: str) -> dict[str, float]:
    """The service's counters without labels."""
    found = {}
    for line in httpx2.get(f"{url}/metrics", timeout=30).text.splitlines():
        name, _, value = line.partition(" ")
        if not line.startswith("#") and "{" not in name:
            found[name] = float(value)
    return found


if __name__ == "__main__":
    main()
