"""Jobs: submit, show, list, cancel."""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api.access.guard import SAFE_METHODS, LanguageDep, Reader, ServicesDep, Submitter
from api.access.tickets import TICKET_SECONDS
from api.jobs.form_docs import JOB_FORM
from api.jobs.listing import list_jobs
from api.jobs.ownership import checked_id, owned_job
from api.jobs.receiving import receive_job
from api.server.caching import ASK_AGAIN, cached_response
from api.wire.addresses import address
from api.wire.presenter import job_view
from api.wire.problems import problems
from api.wire.schemas import JobPage, JobView, TicketView
from shared.errors import AlreadyFinished, Unauthenticated
from shared.jobs import Job, JobState
from shared.messages import Language

# Proxies give up a request after 60 s, and the job's id would be lost with it.
LONGEST_WAIT_SECONDS = 50
WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")

UPLOAD_PROBLEMS = (
    "malformed_multipart",
    "unauthenticated",
    "forbidden",
    "payload_too_large",
    "unsupported_media_type",
    "animated_image",
    "validation_error",
    "invalid_image",
    "image_truncated",
    "image_too_large",
    "image_too_small",
    "rate_limited",
    "overloaded",
    "queue_full",
    "storage_full",
    "store_unavailable",
)
JOB_PROBLEMS = (
    *UPLOAD_PROBLEMS,
    "image_too_blurry",
    "image_too_dark",
    "image_blank",
    "lora_base_mismatch",
    "lora_not_found",
    "image_not_found",
    "lora_quarantined",
    "idempotency_in_flight",
    "idempotency_key_reuse",
)
READ_PROBLEMS = (
    "unauthenticated",
    "forbidden",
    "job_not_found",
    "result_expired",
    "rate_limited",
    "store_unavailable",
)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    status_code=202,
    operation_id="createJob",
    summary="Submit a picture to be enhanced",
    response_model=JobView,
    responses={
        200: {"model": JobView, "description": "Finished within `Prefer: wait`"},
        **problems(*JOB_PROBLEMS),
    },
    openapi_extra={"requestBody": JOB_FORM},
)
async def create_job(
    request: Request,
    services: ServicesDep,
    caller: Submitter,
    language: LanguageDep,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: answer when done, N <= 50 s.")
    ] = None,
    idempotency_key: Annotated[
        str | None, Header(description="The same key and request never make two jobs.")
    ] = None,
) -> Response:
    del idempotency_key  # documented here, read before the body is
    submitted = await receive_job(request, services, caller)
    wait = wait_seconds(prefer)
    if wait:
        await services.followers.wait_for_end(caller.place, submitted.job_id, wait)
    job = await run_in_threadpool(services.store.get, submitted.job_id)
    answer = job_response(request, job, language, 200 if wait and job.state.is_terminal else 202)
    answer.headers["Location"] = address(f"/v1/jobs/{job.id}")
    answer.headers.setdefault("Retry-After", "1")
    if wait:
        answer.headers["Preference-Applied"] = f"wait={wait}"
    if submitted.replayed:
        answer.headers["Idempotency-Replayed"] = "true"
    return answer


@router.get(
    "",
    operation_id="listJobs",
    summary="The caller's own jobs, newest first",
    response_model=JobPage,
    responses=problems("unauthenticated", "forbidden", "validation_error", "store_unavailable"),
)
def get_jobs(
    services: ServicesDep,
    caller: Reader,
    language: LanguageDep,
    cursor: Annotated[str | None, Query(pattern=r"^\d{1,15}-\d{1,6}$", max_length=30)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JobPage:
    if not caller.is_known and not services.settings.allow_anonymous:
        raise Unauthenticated("without a key it is unknown whose jobs to list")
    jobs, next_cursor = list_jobs(services.store, caller.name, cursor, limit)
    return JobPage(items=[job_view(job, language) for job in jobs], next_cursor=next_cursor)


@router.get(
    "/{job_id}",
    operation_id="getJob",
    summary="The current state of a job",
    response_model=JobView,
    responses={
        304: {"description": "Not changed since `If-None-Match`"},
        **problems(*READ_PROBLEMS),
    },
)
def get_job(
    job_id: str, request: Request, services: ServicesDep, caller: Reader, language: LanguageDep
) -> Response:
    job = owned_job(services.store, job_id, caller.name)
    return job_response(request, job, language)


@router.delete(
    "/{job_id}",
    operation_id="cancelJob",
    summary="Cancel a job: a waiting one at once, a running one at its next step",
    response_model=JobView,
    responses={
        202: {"model": JobView, "description": "It stops at its next step"},
        **problems(*READ_PROBLEMS, "already_finished"),
    },
)
def cancel_job(
    job_id: str, request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    owned_job(services.store, job_id, caller.name)
    state = services.store.cancel(job_id)
    if state in (JobState.SUCCEEDED, JobState.FAILED):
        raise AlreadyFinished()
    job = services.store.get(job_id)
    return job_response(request, job, language, 202 if state is JobState.RUNNING else 200)


@router.post(
    "/{job_id}/ticket",
    status_code=201,
    operation_id="createTicket",
    summary="A short-lived permit for this job's events and socket",
    responses=problems(*READ_PROBLEMS),
)
def create_ticket(job_id: str, services: ServicesDep, caller: Reader) -> TicketView:
    job = owned_job(services.store, checked_id(job_id), caller.name)
    expires_at = datetime.now(UTC) + timedelta(seconds=TICKET_SECONDS)
    ticket = services.tickets.issue(job.id, caller.name)
    return TicketView(ticket=ticket, expires_at=expires_at)


def job_response(
    request: Request, job: Job, language: Language, status_code: int = 200
) -> Response:
    """A job as JSON with its entity tag; while it is not over, also the time of the next poll."""
    body = job_view(job, language).model_dump_json(warnings=False).encode()
    headers = {
        "Cache-Control": ASK_AGAIN,
        "Content-Language": language,
        "Vary": "Accept-Language, Authorization, X-API-Key",
    }
    if not job.state.is_terminal:
        headers["Retry-After"] = "1"
    etag = sha256(body).hexdigest()[:32]
    if request.method in SAFE_METHODS:
        return cached_response(request, body, etag, "application/json", headers)
    return Response(body, status_code, {**headers, "ETag": f'"{etag}"'}, "application/json")


def wait_seconds(prefer: str | None) -> int:
    """The N of `Prefer: wait=N`, at most 50; 0 without one (RFC 7240)."""
    found = WAIT.search(prefer or "")
    return min(int(found[1]), LONGEST_WAIT_SECONDS) if found else 0
