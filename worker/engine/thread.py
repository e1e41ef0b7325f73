"""The only thread that may use a device, and its queue of jobs.

Owns order and hand-over only; the given function does the work of a job.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from shared.errors import LeaseLost
from worker.engine.interface import EngineJob, EngineResult, EnlargeJob, OnEvent

Order = EngineJob | EnlargeJob
Work = Callable[[Order, OnEvent], EngineResult]


class EngineThread:
    """Runs `work` on one job after the other, in order of arrival."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._line: queue.SimpleQueue[tuple[Order, OnEvent, Future[EngineResult]] | None] = (
            queue.SimpleQueue()
        )
        self._is_open = True
        self._door = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    def submit(self, job: Order, on_event: OnEvent) -> "Future[EngineResult]":
        """Queues a job. The future fails with LeaseLost after `close`."""
        future: Future[EngineResult] = Future()
        with self._door:
            if self._is_open:
                self._line.put((job, on_event, future))
                return future
        future.set_exception(LeaseLost())
        return future

    def close(self) -> None:
        """Finishes queued jobs, refuses later ones, ends the thread."""
        with self._door:
            self._is_open = False
            self._line.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (item := self._line.get()) is not None:
            job, on_event, future = item
            try:
                job.stop.check()
                future.set_result(self._work(job, on_event))
            except BaseException as error:
                future.set_exception(error)
