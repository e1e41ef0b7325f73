"""A job's pictures: the result, the latest preview, the normalised input; for the operator alone, a
result that a guard refused.
"""

from hashlib import sha256

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.access.guard import Operator, Reader, ServicesDep
from api.access.keys import Caller
from api.intake.kept import as_shown
from api.jobs.ownership import checked_id, owned_job
from api.routes.jobs import READ_PROBLEMS
from api.server.caching import ASK_AGAIN, FOREVER, cached_response
from api.services import Services
from api.wire.problems import problems
from api.wire.sentence import Sentence
from shared.errors import Forbidden, ImageNotFound, NotFinished, ResultExpired
from shared.jobs import Job
from shared.params import MEDIA_TYPES

logger = structlog.get_logger(__name__)

PICTURE = {
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()
    },
    "description": "The picture's bytes",
}

# A link is not cached for as long as it is valid.
LINK_SECONDS = 600
LINKED = "private, max-age=300"

router = APIRouter(prefix="/v1/jobs", tags=["pictures"])


@router.get(
    "/{job_id}/image",
    operation_id="getImage",
    summary="The finished picture",
    response_class=Response,
    responses={
        200: PICTURE,
        302: {"description": "At `Location`, if this deployment sends callers there"},
        **problems(*READ_PROBLEMS, "not_finished", "image_not_found"),
    },
)
def get_image(job_id: str, request: Request, services: ServicesDep, caller: Reader) -> Response:
    job = owned_job(services.store, job_id, caller.name)
    if services.settings.blob_links and job.result is not None:
        link = services.blobs.link(job.result.blob, LINK_SECONDS)
        if link is not None:
            return Response(status_code=302, headers={"Location": link, "Cache-Control": LINKED})
    return image_response(request, services, job)


@router.get(
    "/{job_id}/preview",
    operation_id="getPreview",
    summary="The latest preview",
    response_class=Response,
    responses={200: PICTURE, **problems(*READ_PROBLEMS, "not_finished")},
)
def get_preview(job_id: str, request: Request, services: ServicesDep, caller: Reader) -> Response:
    job = owned_job(services.store, job_id, caller.name)
    if job.preview is None:
        raise NotFinished(Sentence("there is no preview yet", "还没有预览"))
    data = _bytes_of(services, job.preview.blob)
    media_type, etag = job.preview.media_type, sha256(data).hexdigest()
    return cached_response(request, data, etag, media_type, {"Cache-Control": ASK_AGAIN})


@router.get(
    "/{job_id}/source",
    operation_id="getSource",
    summary="The input as it is processed: upright, without metadata",
    response_class=Response,
    responses={200: PICTURE, **problems(*READ_PROBLEMS)},
)
def get_source(job_id: str, request: Request, services: ServicesDep, caller: Reader) -> Response:
    source = owned_job(services.store, job_id, caller.name).spec.source
    data, media_type = as_shown(_bytes_of(services, source.blob))
    return cached_response(request, data, source.image_id, media_type, {"Cache-Control": FOREVER})


@router.get(
    "/{job_id}/refused",
    operation_id="getRefusedImage",
    summary="For the operator: the picture of anybody's job that a guard refused",
    response_class=Response,
    responses={200: PICTURE, **problems(*READ_PROBLEMS, "image_not_found")},
)
def get_refused(job_id: str, services: ServicesDep, caller: Operator) -> Response:
    check_operator(caller)
    job = services.store.get(checked_id(job_id))
    blob = job.failure.refused if job.failure else None
    if blob is None:
        raise ImageNotFound(
            Sentence("no guard refused a picture of this job", "没有检查器拦截过这个任务的图片")
        )
    data = _bytes_of(services, blob)
    suffix = blob.rpartition(".")[2]
    logger.warning("refused picture shown", job=job.id, of=job.spec.client, by=caller.name)
    name = f"refused-{job.id[:8]}.{suffix}"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}"'}
    return Response(data, media_type=MEDIA_TYPES[suffix], headers=headers)


def check_operator(caller: Caller) -> None:
    """Without any key configured, only this machine's callers are the operator. Raises
    Forbidden.
    """
    if caller.place != caller.name:
        raise Forbidden(
            Sentence(
                "without RETOUCH_API_KEYS, refused pictures are shown on this machine only",
                "未设置 RETOUCH_API_KEYS 时，被拦截的图片只能在本机查看",
            )
        )


def image_response(request: Request, services: Services, job: Job) -> Response:
    """A job's result. Raises NotFinished, ImageNotFound, ResultExpired."""
    if job.result is None:
        if job.state.is_terminal:
            raise ImageNotFound(
                Sentence(f"the job {job.state}, so it has no picture", "任务没有完成，因此没有图片")
            )
        raise NotFinished()
    data = _bytes_of(services, job.result.blob)
    name = f"retouch-{job.id[:8]}.{job.result.format}"
    headers = {"Cache-Control": FOREVER, "Content-Disposition": f'inline; filename="{name}"'}
    media_type = MEDIA_TYPES[job.result.format]
    return cached_response(request, data, job.result.sha256, media_type, headers)


def _bytes_of(services: Services, blob: str) -> bytes:
    try:
        return services.blobs.get(blob)
    except ImageNotFound as error:
        raise ResultExpired() from error
