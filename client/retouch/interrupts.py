"""Counts Ctrl-C, SIGTERM and SIGHUP; loops check the count.

An exception in the middle of running code could leave a child process behind; a count lets every
part end in order. The first signal asks for an end, the second one for a fast end.
"""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

# Windows has no SIGHUP.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
# A service manager may send SIGTERM and SIGHUP together: that is one request, not two.
ONE_WISH_SECONDS = 0.3


class Interrupts:
    """Counts signals while entered; restores the handlers afterwards. Main thread only."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the user asked for an end."""
        return self._count > 0

    def urgent(self) -> bool:
        """Whether the user asked more than once."""
        return self._count > 1

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > ONE_WISH_SECONDS:
            self._count += 1
        self._last = now
