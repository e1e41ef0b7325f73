"""Waits for something to become true, with a description if it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
# A busy machine takes several times as long as the seconds that the callers have in mind.
SLACK = 3.0


def wait_until(
    predicate: Callable[[], Value], *, description: str, seconds: float = 10.0, every: float = 0.02
) -> Value:
    """The predicate's first truthy value. Raises AssertionError with the description."""
    patience = SLACK * seconds
    deadline = time.monotonic() + patience
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {patience} s for: {description}"
        time.sleep(every)
