"""Reports: a caller says that a picture should not have been made.

Owns the route. shared/ledger/strikes.py owns the consequences.
"""

import structlog
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.access.guard import LanguageDep, ServicesDep, Submitter
from api.access.keys import Caller
from api.intake.json_body import JSON_PROBLEMS, checked_json, json_body
from api.intake.upload import received_json
from api.jobs.ownership import owned_job
from api.routes.jobs import READ_PROBLEMS
from api.services import Services
from api.wire.problems import problems
from api.wire.schemas import ReportForm, ReportView
from shared.errors import NotFinished
from shared.jobs import JobState

logger = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "/{job_id}/report",
    operation_id="reportJob",
    summary="Report a picture: it counts against its LoRAs, once per job",
    responses=problems(
        *READ_PROBLEMS, *JSON_PROBLEMS, "not_finished", "validation_error", "storage_full"
    ),
    openapi_extra={"requestBody": json_body(ReportForm)},
)
async def report_job(
    job_id: str, request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> ReportView:
    report = checked_json(ReportForm, await received_json(request), language)
    return await run_in_threadpool(_report, job_id, report, services, caller)


def _report(job_id: str, report: ReportForm, services: Services, caller: Caller) -> ReportView:
    job = owned_job(services.store, job_id, caller.name)
    if job.state is not JobState.SUCCEEDED:
        raise NotFinished("only a finished picture can be reported")
    logger.warning("picture reported", job=job.id, reason=report.reason, note=report.note)
    services.strikes.count(job.params.loras, job.spec, f"reported: {report.reason}")
    return ReportView(loras=[lora.name for lora in job.params.loras])
