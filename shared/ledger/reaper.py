"""Recovers from faults: expired leases, lost hints, expired pictures.

Every gateway and worker runs one of these in a thread; the ledger elects the one that acts. Owns
only the schedule: the ledger's scripts decide what may happen to a job.
"""

import time
from collections.abc import Iterable
from uuid import uuid4

import structlog

from shared.blobs import BlobStore
from shared.errors import RetouchError, StoreUnavailable
from shared.ledger.leftovers import discard_attempt
from shared.ledger.queue import Hints
from shared.ledger.store import JobStore
from shared.periodic import Periodic
from shared.settings import Settings

TICK_SECONDS = 1.0
SWEEP_SECONDS = 60.0
HINTS_PER_TICK = 50
# Followers that lost their connection have so long to read a finished job's events.
EVENTS_SECONDS = 600.0
PACKED_PER_TICK = 200

logger = structlog.get_logger(__name__)


class Reaper:
    """A thread that ticks once a second. `start` and `stop` come in pairs."""

    def __init__(self, store: JobStore, hints: Hints, blobs: BlobStore, settings: Settings) -> None:
        self._store = store
        self._hints = hints
        self._blobs = blobs
        self._lease_seconds = settings.lease_seconds
        self._token = uuid4().hex
        self._quiet_until = 0.0
        self._next_sweep = time.monotonic() + SWEEP_SECONDS
        self._loop = Periodic("reaper", self._round, TICK_SECONDS)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()

    def tick(self) -> None:
        """One round, if this process is the elected one. Raises StoreUnavailable."""
        if not self._store.elect("reaper", self._token, TICK_SECONDS * 3):
            return
        self._expire_leases()
        for base in self._store.queues():
            self._hint_again(base)
        self._store.pack_finished(EVENTS_SECONDS, PACKED_PER_TICK)
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_SECONDS
            self._sweep()

    def _expire_leases(self) -> None:
        # After an outage every lease looks expired. Its holders renew as soon as they can, so they
        # are given the length of one lease, counted from the store's return.
        if time.monotonic() < self._quiet_until:
            return
        if self._store.uptime_seconds() <= self._lease_seconds:
            return
        for reaped in self._store.reap_expired():
            logger.warning(
                "lease expired", job=reaped.job_id, worker=reaped.worker, now=str(reaped.outcome)
            )
            discard_attempt(self._blobs, self._store.get(reaped.job_id), reaped.epoch)

    def _hint_again(self, base: str) -> None:
        # A hint starts whichever job is next, so only the number of hints matters.
        waiting = self._store.queue_size(base)
        try:
            missing = waiting - self._hints.pending(base)
            if missing > 0:
                self._send(self._store.overdue(base, min(missing, HINTS_PER_TICK)), base)
        except StoreUnavailable as error:
            # A separate broker may be down; expired leases are recovered all the same.
            logger.warning("hints are waiting for the broker", reason=str(error))

    def _send(self, job_ids: Iterable[str], base: str) -> None:
        for job_id in job_ids:
            self._hints.send(job_id, base=base)

    def _sweep(self) -> None:
        # However long a job waits, its input does not expire before the job.
        for blob in self._store.sources_in_use():
            self._blobs.touch(blob)
        self._blobs.sweep()

    def _round(self) -> None:
        try:
            self.tick()
        except RetouchError:
            self._quiet_until = time.monotonic() + self._lease_seconds
            raise
