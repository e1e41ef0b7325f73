"""The round trip of a picture with an engine that does nothing: the cost of the service itself.

`python -m benchmarks.roundtrip [--pictures 300] [--clients 16] [--json out/roundtrip.json]`: a
512 px JPEG posted to `/v1/jobs`, its end awaited, the finished JPEG fetched; the whole of `retouch
up` runs, with the fake engine at zero seconds a step. One client for the latency, many for the
throughput. The processor time of each process hardly depends on other load, so it is comparable
between runs on one machine.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import numpy as np
import psutil

from benchmarks.service import running_service, to_jpeg

QUICK = {"RETOUCH_ENGINE": "fake", "RETOUCH_FAKE_STEP_SECONDS": "0", "RETOUCH_GUARDS": "off"}
# The parts of the service, recognised by their command lines.
PARTS = {
    "decoder": "decoder_child.py",
    "gateway": "-m api",
    "worker": "-m worker",
    "store": "valkey",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    data = noise()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), QUICK) as (url, pid),
    ):
        stack = psutil.Process(pid)
        many(url, data, 20, 1)  # warm-up
        before = processor_seconds(stack)
        latency = many(url, data, options.pictures, 1)
        after = processor_seconds(stack)
        started = time.perf_counter()
        crowd = many(url, data, options.pictures, options.clients)
        rate = options.pictures / (time.perf_counter() - started)
    print(f"upload: {len(data) // 1024} KiB; load average {os.getloadavg()[0]:.1f}")
    each = {name: (after[name] - before.get(name, 0.0)) / options.pictures for name in after}
    print("processor time a picture, whatever else the machine does:")
    for name, seconds in sorted(each.items(), key=lambda item: -item[1]):
        print(f"  {name:9} {seconds * 1000:5.1f} ms")
    service = sum(seconds for name, seconds in each.items() if name != "client")
    print(f"  together, without the client, {service * 1000:.1f} ms")
    print(f"1 client: {line(latency)}")
    print(f"{options.clients} clients: {line(crowd)}, {rate:.0f} pictures/s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        milliseconds = {name: round(seconds * 1000, 2) for name, seconds in each.items()}
        figures = {
            "processor_ms": milliseconds,
            "p50_ms": round(statistics.median(latency) * 1000, 2),
        }
        options.json.write_text(json.dumps(figures | {"pictures_per_second": round(rate, 1)}))


def line(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99) - 1]
    return f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"


def many(url: str, data: bytes, pictures: int, clients: int) -> list[float]:
    with httpx2.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(clients) as threads:
        return list(threads.map(lambda _: there_and_back(client, data), range(pictures)))


def there_and_back(client: httpx2.Client, data: bytes) -> float:
    started = time.perf_counter()
    form = {"lora": "none", "format": "jpeg", "preview": "false", "upscale": "1"}
    files = {"image": ("photo.jpg", data, "image/jpeg")}
    job = client.post("/v1/jobs", data=form, files=files, headers={"Prefer": "wait=30"}).json()
    assert job["state"] == "succeeded", job
    picture = client.get(job["links"]["image"])
    assert picture.status_code == 200
    return time.perf_counter() - started


def processor_seconds(stack: psutil.Process) -> dict[str, float]:
    """Processor time so far of each part of the service, and of this client."""
    spent = {"client": sum(psutil.Process().cpu_times()[:2])}
    for process in stack.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            part = next((name for name, mark in PARTS.items() if mark in command), "other")
            spent[part] = spent.get(part, 0.0) + sum(process.cpu_times()[:2])
    return spent


def noise() -> bytes:
    """A JPEG of 512 px with the entropy of a photo."""
    pixels = np.random.default_rng(0).normal(128, 20, (512, 512, 3))
    return to_jpeg(pixels.clip(0, 255).astype(np.uint8), quality=85)


if __name__ == "__main__":
    main()
