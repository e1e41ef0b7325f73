"""The one Celery task: a hint has arrived, so there may be a job to claim."""

from collections.abc import Callable

import structlog
from celery import Celery
from celery.exceptions import Reject

from shared.errors import RetouchError
from shared.ledger.queue import RUN_TASK
from shared.ledger.store import MustRunAlone
from worker.job.runner import Runner

# How often to check whether this worker has no jobs left, which nothing reports.
ALONE_LOOK_SECONDS = 1.0

logger = structlog.get_logger(__name__)


def register(app: Celery, runner: Runner, is_draining: Callable[[], bool]) -> None:
    """Registers `retouch.run` with the application."""

    @app.task(name=RUN_TASK)
    def run(job_id: str) -> None:
        """Runs the next job. `job_id` is the reason for this hint, not the job that runs."""
        runner.probe.hinted(job_id)
        while not is_draining():
            try:
                runner.run_next()
            except MustRunAlone:
                runner.leases.wait_for_change(ALONE_LOOK_SECONDS)
                continue
            except RetouchError as error:
                # The hint is consumed, but the job still waits: the reaper sends another hint.
                logger.warning("hint wasted", hinted_job=job_id, reason=str(error))
            return
        raise Reject("this worker is stopping", requeue=True)
