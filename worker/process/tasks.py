"""The one Celery task: a hint has arrived, so there may be a job to claim."""

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Ignore, Reject

from shared.errors import RetouchError
from shared.jobs import JobState
from shared.ledger.queue import RUN_TASK
from shared.ledger.store import MustRunAlone
from worker.job.runner import Ran, Runner

# How often to check whether this worker has no jobs left, which nothing reports.
ALONE_LOOK_SECONDS = 1.0

logger = structlog.get_logger(__name__)


class JobFailed(Exception):
    """Raised so that a monitor of Celery shows the hint that ran a failed job as failed."""


def register(app: Celery, runner: Runner, is_draining: Callable[[], bool]) -> None:
    """Registers `retouch.run` with the application."""

    @app.task(name=RUN_TASK, bind=True, throws=(JobFailed,))
    def run(hint: Any, job_id: str) -> str:
        """Runs the next job. `job_id` is the reason for this hint, not the job that runs."""
        runner.probe.hinted(job_id)
        while not is_draining():
            try:
                return shown(hint, runner.run_next())
            except MustRunAlone:
                runner.leases.wait_for_change(ALONE_LOOK_SECONDS)
            except RetouchError as error:
                # The hint is consumed, but the job still waits: the reaper sends another hint.
                logger.warning("hint wasted", hinted_job=job_id, reason=str(error))
                return "the store did not answer"
        raise Reject("this worker is stopping", requeue=True)


def shown(hint: Any, ran: Ran | None) -> str:
    """What monitors such as Flower are told about a hint: the end of the job that it ran.

    Raises JobFailed, and Ignore for a canceled job, whose hint then counts as revoked.
    """
    if ran is None:
        return "no job was waiting"
    if ran.outcome == JobState.FAILED:
        raise JobFailed(f"job {ran.job_id}: {ran.code}")
    if ran.outcome == JobState.CANCELED:
        hint.send_event("task-revoked", terminated=False, signum=None, expired=False, retry=False)
        raise Ignore(f"job {ran.job_id} was canceled")
    return f"job {ran.job_id} {ran.outcome}"
