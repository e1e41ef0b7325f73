"""Finds queued jobs whose hint was lost.

Hints get lost: with a connection, a broker or a frozen worker. Celery's consumer has also been seen
to stop polling a healthy broker after its connection had silently died. An idle worker therefore
checks the ledger once a second. If jobs wait at two checks in a row, no hint has arrived: it claims
the job itself and makes the consumer reconnect. While the consumer is still starting, it claims at
the first check.
"""

from collections.abc import Callable

import structlog

from shared.ledger.store import MustRunAlone
from shared.periodic import Periodic
from worker.job.runner import Runner

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
LOOKS = 2


class Poller:
    """A thread that checks once a second. `start` and `stop` come in pairs; `stop` waits for the
    running job, so let the job end or stop it first.
    """

    def __init__(
        self,
        runner: Runner,
        is_idle: Callable[[], bool],
        is_consuming: Callable[[], bool],
        reconnect: Callable[[], None],
    ) -> None:
        self._runner = runner
        self._is_idle = is_idle
        self._is_consuming = is_consuming
        self._reconnect = reconnect
        self._sightings = 0
        self._loop = Periodic("poller", self.look, LOOK_SECONDS)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop(timeout=None)

    def look(self) -> None:
        """One round. Raises StoreUnavailable."""
        sees_work = self._is_idle() and self._runner.waiting() > 0
        self._sightings = self._sightings + 1 if sees_work else 0
        if self._sightings and not self._is_consuming():
            self._work()
        elif self._sightings >= LOOKS:
            logger.warning("a job without a hint; reconnecting to the broker")
            self._reconnect()
            self._work()

    def _work(self) -> None:
        self._sightings = 0
        self._runner.probe.hinted("poller")
        try:
            self._runner.run_next()
        except MustRunAlone:
            return  # a hint has arrived after all
