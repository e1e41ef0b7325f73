"""Waits for something to become true, with a description if it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
# A busy machine takes several times as long as the seconds that the callers have in mind.
SLACK = 3.0
SHORTEST = 0.005


def wait_until(
    predicate: Callable[[], Value], *, description: str, seconds: float = 10.0, every: float = 0.05
) -> Value:
    """The predicate's first truthy value. Raises AssertionError with the description.

    It is asked `every` so many seconds, at first more often: to ask a service costs both of them
    processor time that what is waited for needs.
    """
    patience = SLACK * seconds
    began = time.monotonic()
    while True:
        value = predicate()
        if value:
            return value
        waited = time.monotonic() - began
        assert waited < patience, f"waited {patience} s for: {description}"
        time.sleep(min(every, max(SHORTEST, waited / 10)))
