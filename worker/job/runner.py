"""Claims jobs and turns the outcome of an attempt into a state of the job.

Owns the boundary at which all exceptions are handled. Knows nothing of Celery.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple
from uuid import uuid4

import structlog
from opentelemetry.trace import SpanKind

from shared.errors import (
    InternalError,
    JobCanceled,
    LeaseLost,
    LoraChanged,
    LoraCorrupt,
    RetouchError,
)
from shared.jobs import Claim, Failure, JobState
from shared.params import LoraRef
from shared.tracing import fail, span, trace_id
from worker.engine.base.device_lost import DeviceLost
from worker.engine.interface import StopFlag
from worker.job.attempt import Attempt, Rerouted, patiently
from worker.job.attempt_parts import AttemptParts
from worker.job.freed_memory import give_back_after
from worker.job.leases import LeaseKeeper

RETURNED = "returned"

logger = structlog.get_logger(__name__)


class Draining(BaseException):
    """Raised from the step callback when this worker is stopping and returns its job."""


class Where(StrEnum):
    """Who has all LoRA files of a job: this worker, another one, or nobody."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    NOWHERE = "nowhere"


class Ran(NamedTuple):
    """A job that was run, and how that ended: a state of the job, or `returned`; of a failed one
    also the code.
    """

    job_id: str
    outcome: str
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Runner(AttemptParts):
    """Runs one claim at a time in the calling thread; several threads may call it."""

    worker_id: str
    base: str
    leases: LeaseKeeper
    on_device_lost: Callable[[], None]
    whereabouts: Callable[[list[LoraRef], str], Where] = lambda _loras, _base: Where.NOWHERE

    def run_next(self) -> Ran | None:
        """Claims the next job and runs it to its end; None if nothing waits.

        Raises StoreUnavailable if the store does not answer, MustRunAlone if the next job has to
        wait until this worker has no other jobs.
        """
        since = time.monotonic()
        claim = self._claim()
        if claim is None:
            return None
        self.probe.reached("claimed", claim)
        about = {"retouch.job": claim.spec.id, "retouch.base": claim.spec.base}
        with (
            self.leases.keeping(claim, since) as stop,
            span("job", claim.spec.trace, about, SpanKind.CONSUMER) as begun,
        ):
            outcome, code = self._run(claim, stop)
            begun.set_attributes({"retouch.attempt": claim.attempt, "retouch.outcome": outcome})
            if outcome == JobState.FAILED:
                fail(begun, code)
        give_back_after(claim.spec)
        self.probe.reached("ended", claim)
        return Ran(claim.spec.id, outcome, code)

    def waiting(self) -> int:
        """Waiting jobs that this worker could claim. Raises StoreUnavailable."""
        return sum(self.store.waiting(name, self.worker_id) for name in self._queues())

    def _queues(self) -> Iterator[str]:
        """The base's own queue, and that of its family where gateways before 0.2 put jobs in it.
        Another base may be named as its family: its jobs are not for this one.
        """
        yield self.base
        family = self.engine.base
        if family != self.base and not self.store.is_named(family):
            yield family

    def _claim(self) -> Claim | None:
        # The lost answer may have contained a job, which is ours until its lease expires.
        ticket, loaded = uuid4().hex, self.engine.loaded_loras()
        for queue in self._queues():
            claim = patiently(
                partial(self.store.claim, queue, self.worker_id, ticket, loaded),
                seconds=self.store.lease_seconds,
            )
            if claim is not None:
                return claim
        return None

    def _run(self, claim: Claim, stop: StopFlag, again: bool = False) -> tuple[str, str]:
        attempt = Attempt(self, claim, stop)
        log = logger.bind(job=claim.spec.id, attempt=claim.attempt, **_origin(claim))
        try:
            attempt.work()
            log.info("job succeeded", seconds=attempt.timings.total_seconds)
            return JobState.SUCCEEDED, ""
        except JobCanceled:
            self._end(attempt, claim, None)
            log.info("job canceled")
            return JobState.CANCELED, ""
        except LeaseLost:
            self.probe.reached("lost", claim)
            log.warning("lost to a newer claim; nothing committed")
        except Rerouted as other:
            log.info("job given to another base", base=str(other))
        except Draining:
            patiently(lambda: self.store.release(claim))
            self.probe.reached("released", claim)
            log.info("job given back")
        except DeviceLost:
            log.critical("the device no longer answers", exc_info=True)
            self.on_device_lost()
        except RetouchError as error:
            where = self._where(error, claim)
            if where is Where.HERE and not again:
                return self._run(claim, stop, again=True)
            if where is Where.ELSEWHERE:
                patiently(lambda: self.store.refuse(claim))
                log.info("left to a worker that has its LoRAs")
                return RETURNED, ""
            log.warning("job failed", code=error.code, reason=str(error))
            if isinstance(error, LoraCorrupt):
                self._note_failure(error)
            self._end(attempt, claim, failure_of(error, attempt))
            return JobState.FAILED, error.code
        except Exception:
            log.exception("job failed unexpectedly")
            unforeseen = InternalError("something unexpected happened")
            self._end(attempt, claim, failure_of(unforeseen, attempt))
            return JobState.FAILED, unforeseen.code
        return RETURNED, ""

    def _where(self, error: RetouchError, claim: Claim) -> Where:
        """Who has the files, if it was for them that the job could not be done here."""
        if not isinstance(error, LoraChanged):
            return Where.NOWHERE
        try:
            return self.whereabouts(claim.spec.params.loras, claim.spec.base)
        except RetouchError as away:
            logger.warning("other workers not asked", reason=str(away))
            return Where.NOWHERE

    def _note_failure(self, error: LoraCorrupt) -> None:
        """Removes an unreadable file from the list; the job fails in any case."""
        try:
            self.failures.note(error)
        except RetouchError as away:
            logger.warning("unreadable lora not noted", reason=str(away))

    def _end(self, attempt: Attempt, claim: Claim, failure: Failure | None) -> None:
        patiently(lambda: self.store.fail(claim, failure, attempt.timings))


def _origin(claim: Claim) -> dict[str, str]:
    """The ids by which the gateway's log lines about the same job are found."""
    known = {"request": claim.spec.request, "trace": trace_id(claim.spec.trace or "-")}
    return {name: value for name, value in known.items() if value}


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
        refused=attempt.refused,
    )
