"""Variants beside each other in one run: every round runs each of them once, in a new order, so
that other load disturbs all of them alike.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


class Spent(NamedTuple, Generic[Made]):
    """One variant in one round: seconds of processor and wall-clock time, and what it made."""

    processor: float
    clock: float
    made: Made


def measured(
    arms: Mapping[str, Callable[[Given], Made]], drawn: Iterable[Given]
) -> dict[str, list[Spent[Made]]]:
    """The cost of each variant, round by round; the first round is for warming up."""
    spent: dict[str, list[Spent[Made]]] = {name: [] for name in arms}
    for given in drawn:
        for name in random.sample(list(arms), len(arms)):
            spent[name].append(_spent(arms[name], given))
    return {name: rounds[1:] for name, rounds in spent.items()}


def _spent(arm: Callable[[Given], Made], given: Given) -> Spent[Made]:
    processor, clock = time.process_time(), time.perf_counter()
    made = arm(given)
    return Spent(time.process_time() - processor, time.perf_counter() - clock, made)
