"""How wrong a job's percentage is, as its caller sees it and as the service counts it.

`python -m benchmarks.percentage [--jobs 40]`: the whole service with the embedded base, and photos
of mixed sizes, treatments, steps and enlargements, one after the other. When a quarter, a half and
three quarters of a job's time had really passed, the last percentage that its caller had got is
compared with 25, 50 and 75. Jobs of a second or less are left out, and so are the first ones, from
which the service learns how fast this machine is.
"""

import argparse
import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.service import photo, running_service
from retouch import Client

QUARTERS = (25, 50, 75)
GOAL_POINTS = 10.0
LEAST_SECONDS = 1.0
SIDES = (384, 512, 768, 1024, 1536)
# What a job asks for, apart from its photo.
KINDS: tuple[dict[str, object], ...] = (
    {"lora": "auto"},
    {"lora": "restore"},
    {"lora": "denoise", "strength": 0.4},
    {"lora": "none", "strength": 0.6, "steps": 8},
    {"lora": "auto", "upscale": 2},
)


def misses(shown: Sequence[tuple[float, float]], began: float, ended: float) -> list[float]:
    """Points by which the percentages, each with its moment, were wrong at every quarter."""
    whole = ended - began
    if whole <= LEAST_SECONDS:
        return []
    seen = [(began, 0.0), *shown]
    return [
        abs(next(p for at, p in reversed(seen) if at <= began + whole * quarter / 100) - quarter)
        for quarter in QUARTERS
    ]


def follow(client: Client, side: int, kind: dict[str, object]) -> list[float]:
    """One job's misses, from its start to its result."""
    shown: list[tuple[float, float]] = []
    job = client.submit(photo(side), **kind)  # type: ignore[arg-type]
    done = client.wait(
        job, on_progress=lambda progress: shown.append((time.perf_counter(), progress.percent))
    )
    ended = time.perf_counter()
    took = done.timings["total_seconds"] - done.timings["queued_seconds"]
    found = misses(shown, ended - took, ended)
    wrong = " ".join(f"{points:5.1f}" for points in found) or "too short"
    print(f"{side:5} px {kind!s:58} {took:6.1f} s  {wrong}", flush=True)
    return found


def counted(url: str) -> str:
    """The service's own count of points up to the goal, by quarter."""
    buckets: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(httpx2.get(f"{url}/metrics").text):
        for sample in family.samples:
            if sample.name == "retouch_progress_error_points_bucket":
                buckets[sample.labels["quarter"], sample.labels["le"]] = sample.value
    shares = (
        (quarter, buckets.get((str(quarter), "10"), 0.0), buckets.get((str(quarter), "+Inf"), 0.0))
        for quarter in QUARTERS
    )
    return ", ".join(f"{within:.0f} of {whole:.0f} at {at} %" for at, within, whole in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--first", type=int, default=10, help="jobs that are left out")
    options = parser.parse_args()
    draws = random.Random(5)
    mixed = list(itertools.product(SIDES, KINDS))
    with TemporaryDirectory() as folder, running_service(Path(folder), {}) as (url, _):
        client = Client(url)
        rows = [follow(client, *draws.choice(mixed)) for _ in range(options.first + options.jobs)]
        said = counted(url)
    table = np.array([row for row in rows[options.first :] if row])
    for quarter, column in zip(QUARTERS, table.T, strict=True):
        middle, most = np.median(column), column.max()
        print(
            f"at {quarter} %: median {middle:.1f} points, 90 % {np.percentile(column, 90):.1f}, "
            f"most {most:.1f}; {np.mean(column <= GOAL_POINTS):.0%} within {GOAL_POINTS:g} points"
        )
    print(f"{len(table)} jobs longer than {LEAST_SECONDS:g} s; by the metric, all jobs: {said}")


if __name__ == "__main__":
    main()
