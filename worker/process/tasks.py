"""The one Celery task: a hint has arrived, so there may be a job to claim."""

from collections.abc import Callable

import structlog
from celery import Celery
from celery.exceptions import Reject

from shared.errors import RetouchError
from shared.ledger.queue import RUN_TASK
from shared.ledger.store import MustRunAlone
from worker.job.runner import Runner

# How often to look whether this worker's hands are empty, where nobody says so.
ALONE_LOOK_SECONDS = 1.0

logger = structlog.get_logger(__name__)


def register(app: Celery, runner: Runner, is_draining: Callable[[], bool]) -> None:
    """Make `retouch.run` known to the application."""

    @app.task(name=RUN_TASK)
    def run(job_id: str) -> None:
        """Run the job whose turn it is. `job_id` is why this hint was sent, not which job runs."""
        runner.probe.hinted(job_id)
        while not is_draining():
            try:
                runner.run_next()
            except MustRunAlone:
                runner.leases.wait_for_change(ALONE_LOOK_SECONDS)
                continue
            except RetouchError as error:
                # The hint is spent, the job is not: the reaper sends another.
                logger.warning("hint wasted", hinted_job=job_id, reason=str(error))
            return
        raise Reject("this worker is going down", requeue=True)
