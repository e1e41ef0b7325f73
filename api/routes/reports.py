"""Reports: a caller says that a picture should not have been made.

Owns the route. What a report leads to is shared/strikes.py's business.
"""

import structlog
from fastapi import APIRouter

from api.access.guard import ServicesDep, Submitter
from api.ownership import owned_job
from api.problems import problems
from api.routes.jobs import READ_PROBLEMS
from api.schemas import ReportForm, ReportView
from shared.errors import NotFinished
from shared.jobs import JobState

logger = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "/{job_id}/report",
    operation_id="reportJob",
    summary="Report a picture: it counts against its LoRAs, once per job",
    responses=problems(*READ_PROBLEMS, "not_finished", "validation_error", "storage_full"),
)
def report_job(
    job_id: str, report: ReportForm, services: ServicesDep, caller: Submitter
) -> ReportView:
    job = owned_job(services.store, job_id, caller.name)
    if job.state is not JobState.SUCCEEDED:
        raise NotFinished("only a finished picture can be reported")
    logger.warning("picture reported", job=job.id, reason=report.reason, note=report.note)
    services.strikes.count(job.params.loras, job.id, f"reported: {report.reason}")
    return ReportView(loras=[lora.name for lora in job.params.loras])
