"""Notices when this process only looks alive: a step that never ends, deafness beside a queue, or
an engine that has spoiled weights.

Owns the two limits. The remedy is always the same: stop renewing and end the process; the
supervisor gives the jobs back and starts a new one.
"""

import time
from collections.abc import Callable

import structlog

from shared.errors import RetouchError
from shared.periodic import Periodic
from worker.engine.base.device_lost import DeviceLost, WeightsChanged
from worker.job.pulse import Pulse
from worker.process import exits

logger = structlog.get_logger(__name__)

# A processor takes minutes for what a GPU does in seconds.
CPU_PATIENCE = 10
# Silence is measured against this many times the longest usual one.
UNUSUAL = 10
LOOK_SECONDS = 0.5


class Watchdog:
    """A thread that looks twice a second. `start` and `stop` come in pairs.

    `queued` tells how many jobs wait (raises StoreUnavailable), `is_idle` whether this process
    could take one, `complaint` why the engine must not go on; `end` is given the exit code.
    """

    def __init__(
        self,
        pulse: Pulse,
        *,
        step_seconds: float,
        idle_seconds: float,
        is_idle: Callable[[], bool],
        queued: Callable[[], int],
        complaint: Callable[[], DeviceLost | None] = lambda: None,
        end: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse = pulse
        self._step_seconds = step_seconds
        self._idle_seconds = idle_seconds
        self._is_idle = is_idle
        self._queued = queued
        self._complaint = complaint
        self._end = end
        self._clock = clock
        self._fine_at = clock()
        self._loop = Periodic("watchdog", self.look, LOOK_SECONDS)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()

    def look(self) -> None:
        """One round."""
        silence, limit = self._pulse.silence(), self._step_limit()
        if complaint := self._complaint():
            logger.critical("the engine gives up", reason=str(complaint))
            self._end(exit_code(complaint))
        elif silence > limit:
            logger.critical("a step does not end", silent_seconds=silence, limit_seconds=limit)
            self._end(exits.HUNG)
        elif self._is_deaf():
            logger.critical("idle beside a queue", limit_seconds=self._idle_seconds)
            self._end(exits.HUNG)

    def _step_limit(self) -> float:
        return max(self._step_seconds, UNUSUAL * self._pulse.usual_silence())

    def _is_deaf(self) -> bool:
        if not self._is_idle() or not self._waiting():
            self._fine_at = self._clock()
        return self._clock() - self._fine_at > self._idle_seconds

    def _waiting(self) -> bool:
        try:
            return self._queued() > 0
        except RetouchError:
            return False  # a store that is away hands out nothing


def exit_code(complaint: DeviceLost | None) -> int:
    """The code of a process whose engine can make no good picture any more."""
    return exits.WEIGHTS_CHANGED if isinstance(complaint, WeightsChanged) else exits.DEVICE_LOST
