"""Returns the jobs of a dead engine process without waiting for its leases to expire.

Runs in the supervisor, which knows that its child is dead; no other process may decide that.
"""

import signal

import redis
import structlog

from shared.bases import identify_base, name_base
from shared.blobs import open_blobs
from shared.errors import CrashedTooOften, StepTimeout
from shared.jobs import JobState
from shared.ledger.fleet import Fleet
from shared.ledger.leftovers import discard_attempt
from shared.ledger.queue import Hints, make_celery
from shared.ledger.store import JobStore, Reaped
from shared.periodic import note_failure
from shared.settings import Settings
from worker.process import exits
from worker.process.device_leases import DeviceLeases

logger = structlog.get_logger(__name__)

TRIES = 2


class ChildReaper:
    """Cleans up after children, one after the other."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._settings = settings
        self._client = client
        self._store = JobStore(client, settings)
        self._fleet = Fleet(client)
        self._blobs = open_blobs(settings)
        name = name_base(identify_base(settings.base_model).id, settings.base_model)
        self._hints = Hints(make_celery(settings, name), name)

    def prepare(self) -> None:
        """Prepares everything that takes time, so that cleaning up is fast."""
        try:
            self._hints.pending()
        except Exception as error:
            note_failure("child-reaper", error)

    def reap(self, worker_id: str, status: int, blame: bool = True) -> None:
        """Takes back the child's jobs and notifies other workers. With `blame=False` the child was
        told to end. If the store is unreachable, nothing is done: the leases expire by themselves.
        """
        for attempt in range(1, TRIES + 1):
            try:
                self._bury(worker_id, status, blame)
            except Exception as error:
                logger.warning("jobs not taken back", attempt=attempt)
                note_failure("child-reaper", error)
            else:
                return

    def _bury(self, worker_id: str, status: int, blame: bool) -> None:
        last_straw = StepTimeout if status == exits.HUNG else CrashedTooOften
        for reaped in self._store.reap_worker(worker_id, last_straw, blame):
            logger.warning("worker died", job=reaped.job_id, status=status, now=str(reaped.outcome))
            self._settle(reaped)
        self._fleet.withdraw(worker_id)
        # A child that is told to end while it still starts has no handler, and dies of the signal.
        was_told = not blame and status == -signal.SIGTERM
        if status != 0 and not was_told:
            self._store.count(f"ended:{exits.CAUSES.get(status, 'crashed')}")

    def _settle(self, reaped: Reaped) -> None:
        job = self._store.get(reaped.job_id)
        if reaped.outcome is JobState.QUEUED:
            self._hints.send(job.id, job.params.priority, job.spec.base)
        discard_attempt(self._blobs, job, reaped.epoch)

    def give_back_device(self, holder: str) -> None:
        """Releases the device's lease, because the supervisor ends."""
        try:
            DeviceLeases(self._client, holder).give_back()
        except Exception as error:
            logger.warning("device not released")
            note_failure("child-reaper", error)
