"""Uploads without a job, so that a retry does not have to send the picture again."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.access.guard import LanguageDep, Reader, ServicesDep, Submitter
from api.jobs.form_docs import IMAGE_FORM
from api.jobs.receiving import receive_image
from api.routes.jobs import UPLOAD_PROBLEMS
from api.wire.addresses import address
from api.wire.presenter import warnings_view
from api.wire.problems import problems
from api.wire.schemas import ImageView

router = APIRouter(prefix="/v1/images", tags=["pictures"])


@router.post(
    "",
    status_code=201,
    operation_id="createImage",
    summary="Upload a picture for later jobs",
    response_model=ImageView,
    responses=problems(*UPLOAD_PROBLEMS),
    openapi_extra={"requestBody": IMAGE_FORM},
)
async def create_image(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: Submitter,
    language: LanguageDep,
) -> ImageView:
    accepted = await receive_image(request, services, caller)
    source = accepted.source
    warnings = accepted.warnings + services.quality_gate.warnings(accepted)
    response.headers["Location"] = address(f"/v1/images/{source.image_id}")
    life = timedelta(seconds=services.settings.result_ttl_seconds)
    return ImageView(
        id=source.image_id,
        width=source.width,
        height=source.height,
        expires_at=datetime.now(UTC) + life,
        warnings=warnings_view(warnings, language),
    )


@router.head(
    "/{image_id}",
    operation_id="hasImage",
    summary="Whether an upload of the caller is still stored; renews its time to live",
    response_class=Response,
    responses=problems(
        "unauthenticated", "forbidden", "image_not_found", "rate_limited", "store_unavailable"
    ),
)
def head_image(image_id: str, services: ServicesDep, caller: Reader) -> Response:
    services.images.find(image_id, caller.name)
    return Response(status_code=200)
