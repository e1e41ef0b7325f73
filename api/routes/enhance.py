"""One request, one picture: a form whose response is the finished PNG."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.access.guard import LanguageDep, ServicesDep, Submitter
from api.jobs.form_docs import ENHANCE_FORM
from api.jobs.receiving import receive_job
from api.routes.jobs import JOB_PROBLEMS, LONGEST_WAIT_SECONDS
from api.routes.pictures import PICTURE, image_response
from api.wire.addresses import address
from api.wire.errors import problem_of_failure
from api.wire.presenter import later_view
from api.wire.problems import problems
from api.wire.schemas import LaterView
from shared.jobs import Job
from shared.messages import Language

DEFAULT_LORA = "face_restore"

router = APIRouter(tags=["jobs"])


@router.post(
    "/enhance",
    operation_id="enhance",
    summary="Send a picture, get the better one",
    response_class=Response,
    responses={
        200: PICTURE,
        202: {
            "model": LaterView,
            "description": "Not finished within 50 s: where to fetch the picture",
        },
        **problems(*JOB_PROBLEMS, "internal_error"),
    },
    openapi_extra={"requestBody": ENHANCE_FORM},
)
async def enhance(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    submitted = await receive_job(request, services, caller, DEFAULT_LORA, "png")
    wait = LONGEST_WAIT_SECONDS
    await services.followers.wait_for_end(caller.place, submitted.job_id, wait)
    job = await run_in_threadpool(services.store.get, submitted.job_id)
    if job.failure is not None:
        return problem_of_failure(request, job.failure, language)
    if job.state.is_terminal:
        answer = await run_in_threadpool(image_response, request, services, job)
    else:
        answer = _later(job, language)
    answer.headers["Location"] = address(f"/v1/jobs/{job.id}")
    return answer


def _later(job: Job, language: Language) -> Response:
    view = later_view(job, LONGEST_WAIT_SECONDS, language)
    headers = {"Retry-After": "1", "Content-Language": language}
    return JSONResponse(view.shown(), status_code=202, headers=headers)
