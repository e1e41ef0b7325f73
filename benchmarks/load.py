"""Clients for benchmarks: closed loops, and Poisson arrivals that do not wait for answers."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

Wish = TypeVar("Wish")


@dataclass(frozen=True)
class Measured:
    """Seconds of every picture, counted from when it was due, and the wall-clock time of all."""

    seconds: tuple[float, ...]
    wall: float

    @property
    def per_second(self) -> float:
        return len(self.seconds) / self.wall

    def quantile(self, share: float) -> float:
        return quantile(self.seconds, share)


def quantile(seconds: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def closed_loop(work: Callable[[Wish], object], wishes: Sequence[Wish], clients: int) -> Measured:
    """`clients` of them at any time; each sends its next request as soon as it is answered."""

    def one(wish: Wish) -> float:
        started = time.perf_counter()
        work(wish)
        return time.perf_counter() - started

    with ThreadPoolExecutor(clients) as threads:
        started = time.perf_counter()
        seconds = tuple(threads.map(one, wishes))
        return Measured(seconds, time.perf_counter() - started)


def poisson(
    work: Callable[[Wish], object], wishes: Sequence[Wish], per_second: float, seed: int
) -> Measured:
    """Arrivals at a rate, whatever the system does: a late answer does not delay later requests."""
    draw = random.Random(seed)
    due, at = [], 0.0
    for _ in wishes:
        at += draw.expovariate(per_second)
        due.append(at)
    with ThreadPoolExecutor(len(wishes)) as threads:
        began = time.perf_counter()

        def one(index: int) -> float:
            time.sleep(max(0.0, due[index] - (time.perf_counter() - began)))
            work(wishes[index])
            return time.perf_counter() - began - due[index]

        seconds = tuple(threads.map(one, range(len(wishes))))
        return Measured(seconds, time.perf_counter() - began)
