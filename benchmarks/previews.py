"""How long a preview takes, from the request to the last byte, idle and while jobs run.

`python -m benchmarks.previews [--previews 40] [--side 512] [--jobs 2] [--steps 10]`: the whole
service with the embedded base; a slider is moved over one uploaded picture, as the page does, and
as many clients keep one job each in the worker. Then the parts of a preview, in one process without
other load, and the limit beside those jobs: the step for which it may have to wait, its own parts,
and 30 ms.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import torch

from benchmarks.load import quantile
from benchmarks.service import photo, running_service
from shared.loras.catalog import Catalog
from shared.params import JobParams, LoraRef
from worker.engine.base.base_loading import load_base
from worker.engine.base.profiles import choose_limits
from worker.engine.interface import EngineJob, StopFlag
from worker.engine.preview_job import as_preview
from worker.engine.step.step_engine import StepEngine
from worker.job.attempt import engine_job
from worker.job.lora_choice import Chooser
from worker.job.outputs import encode_preview
from worker.job.preview_runner import PREVIEW_SIDE
from worker.job.sources import load_source

LORA = "denoise_tiny"
JOB = {"strength": 1.0, "steps": 10}  # of which a step is measured
SERVICE_MS = 30
# The extra cost of a source's first preview.
ONCE = "encoding, source not in the cache"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--previews", type=int, default=40)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    data = photo(options.side)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), {}) as (url, _),
        httpx2.Client(base_url=url, timeout=60) as client,
    ):
        answer = client.post("/v1/images", files={"image": ("photo.jpg", data, "image/jpeg")})
        image = answer.json()["id"]
        warm(client, image)
        show("idle", move_slider(client, image, options.previews))
        with busy(url, data, options.jobs, options.steps):
            beside = move_slider(client, image, options.previews)
            show(f"beside {options.jobs} jobs", beside)
    spent, step = parts(data)
    for name, milliseconds in (spent | {"a step of a job": step}).items():
        print(f"  {name}: {milliseconds:.1f} ms")
    bound = step + sum(spent.values()) - spent[ONCE] + SERVICE_MS
    print(
        f"beside {options.jobs} jobs: p95 {quantile(beside, 0.95) * 1000:.0f} ms; one step, a "
        f"preview's own parts and {SERVICE_MS} ms: {bound:.0f} ms"
    )


def warm(client: httpx2.Client, image: str) -> None:
    """The very first one may take longer."""
    body = {"image_id": image, "lora": LORA, "strength": 0.4}
    for _ in range(5):
        client.post("/v1/previews", json=body)
    assert client.post("/v1/previews", json=body).status_code == 200


def move_slider(client: httpx2.Client, image: str, previews: int) -> list[float]:
    return [ask(client, image, 0.2 + 0.6 * index / previews) for index in range(previews)]


def ask(client: httpx2.Client, image: str, strength: float) -> float:
    started = time.perf_counter()
    body = {"image_id": image, "lora": LORA, "strength": strength, "seed": 1, "session": "slider"}
    answer = client.post("/v1/previews", json=body)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - started


def show(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    within = sum(s <= 0.5 for s in ordered) / len(ordered)
    print(
        f"{name}: p50 {statistics.median(ordered) * 1000:.0f} ms, "
        f"p95 {quantile(ordered, 0.95) * 1000:.0f} ms, "
        f"within 500 ms {within:.0%} of {len(ordered)}"
    )


@contextmanager
def busy(url: str, data: bytes, jobs: int, steps: int) -> Iterator[None]:
    """So many clients, each with one job in the service at any time."""
    done, finished = threading.Event(), list[float]()
    given = (url, data, steps, done, finished)
    clients = [threading.Thread(target=keep_busy, args=given) for _ in range(jobs)]
    for each in clients:
        each.start()
    time.sleep(2)
    try:
        yield
    finally:
        done.set()
        for each in clients:
            each.join()
        print(f"  meanwhile {len(finished)} jobs, {statistics.median(finished):.2f} s each")


def keep_busy(
    url: str, data: bytes, steps: int, done: threading.Event, finished: list[float]
) -> None:
    form = {"lora": "none", "preview": "false", "strength": "1", "steps": str(steps)}
    with httpx2.Client(base_url=url, timeout=120) as client:
        while not done.is_set():
            started = time.perf_counter()
            files = {"image": ("photo.jpg", data, "image/jpeg")}
            posted = client.post("/v1/jobs", data=form, files=files, headers={"Prefer": "wait=50"})
            assert posted.json()["state"] == "succeeded", posted.text
            finished.append(time.perf_counter() - started)


def parts(data: bytes) -> tuple[dict[str, float], float]:
    """Milliseconds of every part of a preview in a worker, and of one step of a job."""
    loaded = load_base("models/tiny", torch.device("cpu"), "auto")
    catalog = Catalog(Path("loras"), loaded.base.id)
    catalog.scan()
    chooser = Chooser(catalog, loaded.base.id)
    small = JobParams(loras=[LoraRef(name=LORA)], strength=0.4, seed=1, max_side=PREVIEW_SIDE)
    pixels = load_source(data, small)
    params, chosen = chooser.settle(small, pixels)
    job = as_preview(engine_job(pixels, params, chosen, StopFlag()), "cpu")
    engine = StepEngine(loaded, choose_limits(loaded))
    measured = {"decode and scale the source": timed(lambda: load_source(data, small))}
    measured |= by_the_engine(engine, job)
    measured["WebP"] = timed(lambda: encode_preview(pixels))
    step = one_step(engine, chooser, data)
    engine.close()
    return measured, step


def one_step(engine: StepEngine, chooser: Chooser, data: bytes) -> float:
    """Milliseconds of a step of the jobs that keep the service busy, without other load."""
    asked = JobParams(loras=[], seed=1, preview=False, **JOB)
    pixels = load_source(data, asked)
    job = engine_job(pixels, *chooser.settle(asked, pixels), StopFlag())
    runs = [engine.submit(job, lambda _: None).result().seconds["denoising"] for _ in range(3)]
    return statistics.median(runs) / asked.executed_steps * 1000


def by_the_engine(engine: StepEngine, job: EngineJob) -> dict[str, float]:
    runs = [engine.submit(job, lambda _: None).result().seconds for _ in range(8)]
    names = {name: name for name in runs[0]} | {"encoding": "encoding, source in the cache"}
    first = {ONCE: runs[0]["encoding"] * 1000}
    later = {shown: float(np.median([r[n] for r in runs[1:]])) * 1000 for n, shown in names.items()}
    return first | later


def timed(action: Callable[[], object], times: int = 9) -> float:
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent) * 1000


if __name__ == "__main__":
    main()
