"""Named points in a job's processing, for tests that kill, freeze or observe the worker there."""

from typing import Protocol

from shared.jobs import Claim
from shared.settings import Settings
from worker.engine.testing.faults import Faults


class Probe(Protocol):
    """Is notified when a job reaches a point; in production this does nothing."""

    def hinted(self, job_id: str) -> None: ...

    def reached(self, point: str, claim: Claim) -> None: ...


class NoProbe:
    def hinted(self, job_id: str) -> None:
        """Does nothing."""

    def reached(self, point: str, claim: Claim) -> None:
        """Does nothing."""


class FaultProbe:
    """Writes a line of history for each point, and triggers the fault that is armed for it."""

    def __init__(self, faults: Faults, worker_id: str) -> None:
        self._faults = faults
        self._worker_id = worker_id

    def hinted(self, job_id: str) -> None:
        self._faults.note("hinted", worker=self._worker_id, hint=job_id)
        self._faults.strike("looked" if job_id == "poller" else "hinted")

    def reached(self, point: str, claim: Claim) -> None:
        self._faults.note(
            point,
            worker=self._worker_id,
            job=claim.spec.id,
            epoch=claim.epoch,
            attempt=claim.attempt,
            seed=claim.spec.params.seed,
        )
        self._faults.strike(point)


def make_probe(settings: Settings, worker_id: str) -> Probe:
    """Faults occur only with the fake engine."""
    if settings.engine == "fake" and settings.fake_faults:
        return FaultProbe(Faults(settings.fake_faults), worker_id)
    return NoProbe()
