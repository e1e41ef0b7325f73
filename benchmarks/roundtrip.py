"""The round trip of a picture with an engine that does nothing: the cost of the service itself.

`python -m benchmarks.roundtrip [--pictures 300] [--clients 16] [--json out/roundtrip.json]`: a
photo of 512 px posted to `/v1/jobs`, its end awaited, the finished JPEG fetched; the whole of
`retouch up` runs, with the fake engine at zero seconds a step. One client for the latency, many for
the throughput. `--noise` sends noise, whose result is larger than any photo's.

The processor time of each process depends on other load by a fifth. `--against FOLDER` compares two
versions: the one in that checkout, with an environment in its `.venv`, comes first. Both run at the
same time and work in turns, 60 pictures a round.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import numpy as np
import psutil
from skimage import data as samples

from benchmarks.service import running_service, to_jpeg

QUICK = {"RETOUCH_ENGINE": "fake", "RETOUCH_FAKE_STEP_SECONDS": "0", "RETOUCH_GUARDS": "off"}
# The parts of the service, recognised by their command lines.
PARTS = {
    "decoder": "decoder_child.py",
    "gateway": "-m api",
    "worker": "-m worker",
    "store": "valkey",
}
CLIENT, TOGETHER = "client", "together, without the client"
ROUNDS, EACH_ROUND = 16, 60

Figures = dict[str, float]
Round = Callable[[int, int], Figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--against", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    sent = noise() if options.noise else photo()
    print(f"upload: {len(sent) // 1024} KiB; load average {os.getloadavg()[0]:.1f}")
    if options.against:
        compare(options.against, sent, options.clients)
    else:
        measure(sent, options.pictures, options.clients, options.json)


def measure(sent: bytes, pictures: int, clients: int, to: Path | None) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), QUICK) as (url, pid),
    ):
        run = rounds_of(url, pid, sent)
        alone, crowd = run(pictures, 1), run(pictures, clients)
    for count, figures in ((1, alone), (clients, crowd)):
        print(f"{count} clients:")
        for name, value in figures.items():
            print(f"  {name:28} {value:7.1f}")
    if to:
        to.parent.mkdir(parents=True, exist_ok=True)
        told = {"processor_ms": {name: round(alone[name], 2) for name in (*PARTS, CLIENT)}}
        told |= {"p50_ms": round(alone["p50 ms"], 2)}
        to.write_text(json.dumps(told | {"pictures_per_second": round(crowd["pictures/s"], 1)}))


def compare(other: Path, sent: bytes, clients: int) -> None:
    retouch = other.resolve() / ".venv" / "bin" / "retouch"
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        running_service(Path(one), QUICK, retouch=retouch) as theirs,
        running_service(Path(two), QUICK) as ours,
    ):
        arms = [rounds_of(*service, sent) for service in (theirs, ours)]
        for count in (1, clients):
            print(f"{count} clients: medians, then the median and quartiles of the rounds' ratios")
            taken: list[list[Figures]] = [[], []]
            for number in range(ROUNDS):
                for arm in (0, 1) if number % 2 else (1, 0):
                    taken[arm].append(arms[arm](EACH_ROUND, count))
            tell(*taken)


def tell(before: list[Figures], after: list[Figures]) -> None:
    for name in before[0]:
        first, second = ([figures[name] for figures in arm] for arm in (before, after))
        low, middle, high = statistics.quantiles(
            (b / a for a, b in zip(first, second, strict=True) if a), n=4
        )
        print(
            f"  {name:28} {statistics.median(first):7.1f} {statistics.median(second):7.1f}"
            f"   {middle:.2f} ({low:.2f} to {high:.2f})",
            flush=True,
        )


def rounds_of(url: str, pid: int, sent: bytes) -> Round:
    """Makes pictures with so many clients: milliseconds of processor time a picture in each part,
    the median of their times, and how many came a second.
    """
    stack = psutil.Process(pid)

    def run(pictures: int, clients: int) -> Figures:
        before, started = processor_seconds(stack), time.perf_counter()
        seconds = many(url, sent, pictures, clients)
        whole, after = time.perf_counter() - started, processor_seconds(stack)
        names = (*PARTS, CLIENT)
        each = {name: (after[name] - before[name]) / pictures * 1000 for name in names}
        ordered = sorted(seconds)
        return each | {
            TOGETHER: sum(each[name] for name in PARTS),
            "p50 ms": statistics.median(ordered) * 1000,
            "p99 ms": ordered[int(len(ordered) * 0.99) - 1] * 1000,
            "pictures/s": pictures / whole,
        }

    many(url, sent, 20, 1)  # warm-up
    return run


def many(url: str, sent: bytes, pictures: int, clients: int) -> list[float]:
    with httpx2.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(clients) as threads:
        return list(threads.map(lambda _: there_and_back(client, sent), range(pictures)))


def there_and_back(client: httpx2.Client, sent: bytes) -> float:
    started = time.perf_counter()
    form = {"lora": "none", "format": "jpeg", "preview": "false", "upscale": "1"}
    files = {"image": ("photo.jpg", sent, "image/jpeg")}
    job = client.post("/v1/jobs", data=form, files=files, headers={"Prefer": "wait=30"}).json()
    assert job["state"] == "succeeded", job
    picture = client.get(job["links"]["image"])
    assert picture.status_code == 200
    return time.perf_counter() - started


def processor_seconds(stack: psutil.Process) -> dict[str, float]:
    """Processor time so far of each part of the service, and of this client."""
    spent = dict.fromkeys(PARTS, 0.0) | {CLIENT: sum(psutil.Process().cpu_times()[:2])}
    for process in stack.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            part = next((name for name, mark in PARTS.items() if mark in command), None)
            if part:
                spent[part] += sum(process.cpu_times()[:2])
    return spent


def photo() -> bytes:
    return to_jpeg(np.asarray(samples.astronaut()), quality=85)


def noise() -> bytes:
    pixels = np.random.default_rng(0).normal(128, 20, (512, 512, 3))
    return to_jpeg(pixels.clip(0, 255).astype(np.uint8), quality=85)


if __name__ == "__main__":
    main()
