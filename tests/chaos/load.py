"""Jobs that keep coming while something is broken."""

import threading
import time
from types import TracebackType

from shared.errors import RetouchError
from shared.jobs import JobSpec
from tests.chaos.rig import BASE, Rig

MOST_WAITING = 20


class Load:
    """A thread that submits jobs for as long as the block runs, and waits where many wait already.
    `answers` are all its submits: when, how long the answer took, and the error's code or None.
    """

    def __init__(self, rig: Rig, every_seconds: float, **params: object) -> None:
        self._rig = rig
        self._every = every_seconds
        self._params = params
        self.specs: list[JobSpec] = []
        self.answers: list[tuple[float, float, str | None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="load", daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.wait(self._every):
            began, code = time.monotonic(), None
            try:
                if self._rig.store.queue_size(BASE) > MOST_WAITING:
                    continue
                self.specs.append(self._rig.submit(**self._params))  # type: ignore[arg-type]
            except RetouchError as error:
                code = error.code
            self.answers.append((began, time.monotonic() - began, code))
