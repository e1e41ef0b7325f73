"""How often a LoRA is found in memory: the service's LRU cache on a Zipf trace, beside other
policies.

    python -m benchmarks.hit_rate [--loras 200] [--room 20] [--requests 100000] [--exponent 1.0]

The LRU cache is the worker's own (worker/engine/lora/residency.py), given one request after the
other. FIFO and the offline optimum (Belady's, which knows the future) get the same trace. All LoRAs
have one size, so capacity is a number of LoRAs. Requests are independent, which is the hardest case
for a policy: real callers repeat their requests.
"""

import argparse
import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.engine.lora.residency import Residency

Trace = Sequence[int]


@dataclass(frozen=True)
class Unit:
    """A LoRA of size one."""

    size_bytes: int = 1


def zipf_trace(loras: int, requests: int, exponent: float, seed: int) -> list[int]:
    """Independent requests; the k-th most popular LoRA has the weight k^-exponent."""
    weights = np.arange(1, loras + 1, dtype=float) ** -exponent
    drawn = np.random.default_rng(seed).choice(loras, requests, p=weights / weights.sum())
    return [int(lora) for lora in drawn]


def hits_of_lru(trace: Trace, room: int) -> int:
    """Through the worker's residency, including pins."""
    residency: Residency[Unit] = Residency(room)
    for lora in trace:
        residency.pin(lora, Unit)
        residency.unpin(lora)
    return residency.counts.hits


def hits_of_fifo(trace: Trace, room: int) -> int:
    """The oldest one is evicted first, however popular it is."""
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for lora in trace:
        if lora in held:
            hits += 1
            continue
        if len(held) == room:
            held.popitem(last=False)
        held[lora] = None
    return hits


def hits_of_optimum(trace: Trace, room: int) -> int:
    """The one whose next use is latest is evicted first (Belady 1966); a LoRA in use has to be
    held.
    """
    following = next_uses(trace)
    held: dict[int, int] = {}
    latest: list[tuple[int, int]] = []
    hits = 0
    for index, lora in enumerate(trace):
        if lora in held:
            hits += 1
        elif len(held) == room:
            _drop_latest(held, latest)
        held[lora] = following[index]
        heapq.heappush(latest, (-following[index], lora))
    return hits


def _drop_latest(held: dict[int, int], latest: list[tuple[int, int]]) -> None:
    while True:
        negative, lora = heapq.heappop(latest)
        if held.get(lora) == -negative:
            del held[lora]
            return


def next_uses(trace: Trace) -> list[int]:
    """For each request, when the same LoRA is requested next; a time beyond the end for never."""
    seen: dict[int, int] = {}
    following = [0] * len(trace)
    for index in range(len(trace) - 1, -1, -1):
        following[index] = seen.get(trace[index], len(trace) + trace[index])
        seen[trace[index]] = index
    return following


POLICIES: dict[str, Callable[[Trace, int], int]] = {
    "LRU, as the worker has it": hits_of_lru,
    "FIFO": hits_of_fifo,
    "offline optimum": hits_of_optimum,
}


def main() -> None:
    options = _options()
    traces = [
        zipf_trace(options.loras, options.requests, options.exponent, seed) for seed in range(3)
    ]
    print(f"{options.loras} LoRAs, room for {options.room}, Zipf({options.exponent}),", end=" ")
    print(f"{options.requests} requests, 3 traces")
    print("| policy | hit rate, % |")
    print("| --- | --- |")
    for name, hits in POLICIES.items():
        rates = [100 * hits(trace, options.room) / len(trace) for trace in traces]
        print(f"| {name} | {np.mean(rates):.1f} ± {np.ptp(rates) / 2:.1f} |")


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loras", type=int, default=200)
    parser.add_argument("--room", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--exponent", type=float, default=1.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
