"""Claims jobs and turns the outcome of an attempt into a state of the job.

Owns the boundary at which all exceptions are handled. Knows nothing of Celery.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import structlog

from shared.errors import InternalError, JobCanceled, LeaseLost, LoraCorrupt, RetouchError
from shared.jobs import Claim, Failure
from worker.engine.base.device_lost import DeviceLost
from worker.engine.interface import StopFlag
from worker.job.attempt import Attempt, patiently
from worker.job.attempt_parts import AttemptParts
from worker.job.leases import LeaseKeeper

logger = structlog.get_logger(__name__)


class Draining(BaseException):
    """Raised from the step callback when this worker is stopping and returns its job."""


@dataclass(frozen=True, kw_only=True)
class Runner(AttemptParts):
    """Runs one claim at a time in the calling thread; several threads may call it."""

    worker_id: str
    leases: LeaseKeeper
    on_device_lost: Callable[[], None]

    def run_next(self) -> bool:
        """Claims the next job and runs it to its end; False if nothing waits.

        Raises StoreUnavailable if the store does not answer, MustRunAlone if the next job has to
        wait until this worker has no other jobs.
        """
        claim = self._claim()
        if claim is None:
            return False
        self.probe.reached("claimed", claim)
        with self.leases.keeping(claim) as stop:
            self._run(claim, stop)
        self.probe.reached("ended", claim)
        return True

    def waiting(self) -> int:
        """Waiting jobs that this worker could claim. Raises StoreUnavailable."""
        return self.store.waiting(self.engine.base, self.worker_id)

    def _claim(self) -> Claim | None:
        # The lost answer may have contained a job, which is ours until its lease expires.
        ticket = uuid4().hex
        return patiently(
            lambda: self.store.claim(self.engine.base, self.worker_id, ticket),
            seconds=self.store.lease_seconds,
        )

    def _run(self, claim: Claim, stop: StopFlag) -> None:
        attempt = Attempt(self, claim, stop)
        log = logger.bind(job=claim.spec.id, attempt=claim.attempt)
        try:
            attempt.work()
            log.info("job succeeded", seconds=attempt.timings.total_seconds)
        except JobCanceled:
            self._end(attempt, claim, None)
            log.info("job canceled")
        except LeaseLost:
            self.probe.reached("lost", claim)
            log.warning("lost to a newer claim; nothing committed")
        except Draining:
            patiently(lambda: self.store.release(claim))
            self.probe.reached("released", claim)
            log.info("job given back")
        except DeviceLost:
            log.critical("the device no longer answers", exc_info=True)
            self.on_device_lost()
        except RetouchError as error:
            log.warning("job failed", code=error.code, reason=str(error))
            if isinstance(error, LoraCorrupt):
                self._note_failure(error)
            self._end(attempt, claim, failure_of(error, attempt))
        except Exception:
            log.exception("job failed unexpectedly")
            unforeseen = InternalError("something unexpected happened")
            self._end(attempt, claim, failure_of(unforeseen, attempt))

    def _note_failure(self, error: LoraCorrupt) -> None:
        """Removes an unreadable file from the list; the job fails in any case."""
        try:
            self.failures.note(error)
        except RetouchError as away:
            logger.warning("unreadable lora not noted", reason=str(away))

    def _end(self, attempt: Attempt, claim: Claim, failure: Failure | None) -> None:
        patiently(lambda: self.store.fail(claim, failure, attempt.timings))


def failure_of(error: RetouchError, attempt: Attempt) -> Failure:
    """The part of an error that is stored in the job's record; with the LoRAs' names if they are
    the cause.
    """
    flags = attempt.verdict.safety.flags if attempt.verdict.error else []
    loras = [lora.name for lora in attempt.params.loras] if flags else []
    return Failure(
        code=error.code,
        message=str(error),
        retryable=error.retryable,
        flags=flags,
        loras=loras,
    )
