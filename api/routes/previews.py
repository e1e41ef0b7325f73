"""Immediate previews: a small picture that shows what a strength or a LoRA does to an upload."""

from uuid import uuid4

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.access.guard import LanguageDep, ServicesDep, Submitter
from api.access.keys import Caller
from api.intake.json_body import JSON_PROBLEMS, checked_json, json_body
from api.intake.upload import received_json
from api.jobs.job_form import JobForm, read_job_form
from api.services import Services
from api.wire.preview_body import PreviewBody
from api.wire.problems import problems
from shared.errors import NoWorker
from shared.ledger.preview_queue import PreviewRequest
from shared.messages import Language
from shared.settings import Settings

router = APIRouter(prefix="/v1/previews", tags=["pictures"])


@router.post(
    "",
    operation_id="createPreview",
    summary="A small preview of a job's result, as WebP",
    response_class=Response,
    responses={
        200: {"content": {"image/webp": {}}, "description": "The preview"},
        **problems(
            *JSON_PROBLEMS,
            "unauthenticated",
            "forbidden",
            "validation_error",
            "image_not_found",
            "lora_not_found",
            "lora_base_mismatch",
            "lora_quarantined",
            "lora_changed",
            "lora_corrupt",
            "unsafe_output",
            "out_of_memory",
            "superseded",
            "rate_limited",
            "no_worker",
            "store_unavailable",
        ),
    },
    openapi_extra={"requestBody": json_body(PreviewBody)},
)
async def create_preview(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    body = checked_json(PreviewBody, await received_json(request), language)
    # Previews wait for seconds: they have threads of their own, so that other requests keep theirs.
    return await to_thread.run_sync(
        _preview, body, services, caller, language, limiter=services.previewing
    )


def _preview(body: PreviewBody, services: Services, caller: Caller, language: Language) -> Response:
    form = _form(body, services.settings, language)
    source = services.images.find(body.image_id, caller.name).source
    if not services.roster.served():
        raise NoWorker
    params = services.submissions.settle(form, language)
    request = PreviewRequest(
        id=uuid4().hex,
        source=source,
        params=params,
        session=f"{caller.name}:{body.session}" if body.session else None,
    )
    image = services.previews.ask(request, params.base or "")
    return Response(image, media_type="image/webp", headers={"Cache-Control": "no-store"})


def _form(body: PreviewBody, settings: Settings, language: Language) -> JobForm:
    """Reads the body as a job's form: the same grammar, the same limits."""
    loras = [body.lora] if isinstance(body.lora, str) else body.lora
    named = {"image_id": body.image_id, "strength": body.strength, "prompt": body.prompt}
    given = {**named, "seed": body.seed, "base": body.base, "pyramid": body.pyramid}
    fields = [(name, str(value)) for name, value in given.items() if value is not None]
    return read_job_form(
        (*fields, *(("lora", lora) for lora in loras)),
        has_file=False,
        settings=settings,
        language=language,
    )
