"""Many callers who wait for their pictures at one gateway, and what the others notice.

    python -m benchmarks.waiting [--callers 200] [--requests 200]

Starts a store and one gateway without workers, so that every caller of `img2img` and `edits` waits.
Prints times of other requests before and meanwhile, the gateway's threads and memory, and how long
it takes until the jobs of callers who leave are canceled.
"""

import argparse
import asyncio
import base64
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.gateway import megabytes, photo, report, running, timed
from benchmarks.machine import describe_machine

LEAVE_SECONDS = 60.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--callers", type=int, default=200)
    options.add_argument("--requests", type=int, default=200)
    asked = options.parse_args()
    # All come from one address, which counts as one key.
    settings = {"RETOUCH_UPLOADS_PER_KEY": "256", "RETOUCH_UPLOADS_LIMIT": "512"}
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), settings) as gateway:
        process, url, _ = gateway
        asyncio.run(measure(process, url, asked.callers, asked.requests))


async def measure(process: psutil.Process, url: str, callers: int, requests: int) -> None:
    """Other requests without and with waiting callers, then the callers' leaving."""
    print(f"{'request':32}{'p50 ms':>9}{'p99 ms':>9}{'per s':>9}")
    show(process, "before")
    await asyncio.to_thread(others, url, "alone", requests)
    data = photo(256, 256)
    limits = httpx2.Limits(max_connections=callers)
    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        faces: list[Callable[[], Coroutine[Any, Any, httpx2.Response]]] = [
            lambda: client.post("/sdapi/v1/img2img", json={"init_images": [encoded(data)]}),
            lambda: client.post("/v1/images/edits", files={"image": ("p.jpg", data)}),
        ]
        waiting = [asyncio.create_task(faces[n % len(faces)]()) for n in range(callers)]
        await until(url, lambda: queued(url) >= callers, "every caller to wait")
        show(process, f"{callers} waiting")
        await asyncio.to_thread(others, url, "meanwhile", requests)
        refused = [task.result().status_code for task in waiting if task.done()]
        print(f"answered before their time: {len(refused)} {refused[:3]}")
        began = time.perf_counter()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await until(url, lambda: queued(url) == 0, "their jobs to be canceled")
    print(f"all left, all jobs canceled after {time.perf_counter() - began:.1f} s")
    show(process, "afterwards")


def others(url: str, when: str, requests: int) -> None:
    """What callers who do not wait meet: one at a time."""
    with httpx2.Client(base_url=url, timeout=60) as client:
        for path in ("/healthz", "/v1/loras"):

            def ask(path: str = path) -> None:
                assert client.get(path).status_code == 200

            report(f"GET {path}, {when}", timed(ask, requests, threads=1))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def queued(url: str) -> int:
    """Jobs that wait; those of the measurement are all there are."""
    text = httpx2.get(f"{url}/metrics", timeout=60).text
    lines = [line for line in text.splitlines() if line.startswith("retouch_queue_size{")]
    return int(float(lines[0].split()[1])) if lines else 0


async def until(url: str, condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition. Ends the benchmark if it never comes true."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}; {queued(url)} jobs are queued")
        await asyncio.sleep(0.2)


def show(process: psutil.Process, when: str) -> None:
    print(f"gateway {when}: {process.num_threads()} threads, {megabytes(process):.0f} MiB")


if __name__ == "__main__":
    main()
