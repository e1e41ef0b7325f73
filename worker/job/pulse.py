"""Records when the engine last showed a sign of life, and its usual intervals."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REMEMBERED = 512


class Pulse:
    """The time of the engine's last sign of life. Any thread may call `beat`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._gaps: deque[float] = deque(maxlen=REMEMBERED)
        self._working = 0
        self._lock = threading.Lock()

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Inside the block, the engine has work to do."""
        with self._lock:
            if not self._working:
                self._last = self._clock()
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1

    def beat(self) -> None:
        """Records a sign of life."""
        with self._lock:
            now = self._clock()
            self._gaps.append(now - self._last)
            self._last = now

    def silence(self) -> float:
        """Seconds since the last sign of life while the engine had work to do."""
        with self._lock:
            return self._clock() - self._last if self._working else 0.0

    def usual_silence(self) -> float:
        """The 99th percentile of the gaps between its last signs of life, seconds."""
        with self._lock:
            gaps = sorted(self._gaps)
        return gaps[int(len(gaps) * 0.99)] if gaps else 0.0
