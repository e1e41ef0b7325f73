"""Waiting for something to become true, with words for when it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(
    predicate: Callable[[], Value], *, description: str, seconds: float = 10.0, every: float = 0.02
) -> Value:
    """The predicate's first truthy value. Raises AssertionError that names what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for: {description}"
        time.sleep(every)
