"""Detects a process that only looks alive: a step that never ends, a consumer that ignores the
queue, or an engine with changed weights.

Owns the two limits. The remedy is always the same: stop renewing and end the process; the
supervisor returns the jobs and starts a new one.
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

# A CPU takes minutes for what a GPU does in seconds.
CPU_PATIENCE = 10
# Silence is compared with this multiple of the longest usual interval.
UNUSUAL = 10
LOOK_SECONDS = 0.5


class Watchdog:
    """A thread that checks twice a second. `start` and `stop` come in pairs.

    `queued` returns how many jobs wait (raises StoreUnavailable), `is_idle` whether this process
    could take one, `complaint` why the engine must stop; `end` gets the exit code.
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
            logger.critical(
                "a step does not end in time", silent_seconds=silence, limit_seconds=limit
            )
            self._end(exits.HUNG)
        elif self._is_deaf():
            logger.critical("idle although jobs are queued", limit_seconds=self._idle_seconds)
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
            return False  # an unreachable store assigns no jobs


def exit_code(complaint: DeviceLost | None) -> int:
    """The exit code of a process whose engine can no longer make good pictures."""
    return exits.WEIGHTS_CHANGED if isinstance(complaint, WeightsChanged) else exits.DEVICE_LOST
