"""A preview now: what a strength or a LoRA would do to an uploaded picture, small and at once."""

import time
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.access.guard import LanguageDep, ServicesDep, Submitter
from api.job_form import JobForm, read_job_form
from api.problems import problems
from shared.errors import NoWorker
from shared.messages import Language
from shared.params import MAX_LORAS
from shared.previews import PreviewRequest
from shared.settings import Settings

router = APIRouter(prefix="/v1/previews", tags=["pictures"])


class PreviewBody(BaseModel):
    """What to preview. The same `session` again supersedes the request before it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"image_id": "9f86d0…", "lora": "denoise:0.8", "strength": 0.4, "session": "slider"}
            ]
        },
    )

    image_id: Annotated[str, Field(max_length=64)]
    lora: Annotated[str, Field(max_length=80)] | Annotated[list[str], Field(max_length=MAX_LORAS)]
    strength: float | None = None
    prompt: str | None = None
    seed: int | None = None
    session: Annotated[str | None, Field(max_length=64)] = None


@router.post(
    "",
    operation_id="createPreview",
    summary="A small picture of what a job would make, as WebP",
    response_class=Response,
    responses={
        200: {"content": {"image/webp": {}}, "description": "The preview"},
        **problems(
            "unauthenticated",
            "forbidden",
            "validation_error",
            "image_not_found",
            "lora_not_found",
            "lora_base_mismatch",
            "lora_quarantined",
            "superseded",
            "rate_limited",
            "no_worker",
            "store_unavailable",
        ),
    },
)
def create_preview(
    body: PreviewBody, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    form = _form(body, services.settings, language)
    source = services.images.find(body.image_id, caller.name)
    if not services.fleet.workers():
        raise NoWorker
    request = PreviewRequest(
        id=uuid4().hex,
        source=source,
        params=services.submissions.settle(form, language),
        session=f"{caller.name}:{body.session}" if body.session else None,
        asked_at=time.time(),
    )
    image = services.previews.ask(request)
    return Response(image, media_type="image/webp", headers={"Cache-Control": "no-store"})


def _form(body: PreviewBody, settings: Settings, language: Language) -> JobForm:
    """The body as a job's form would say it: one grammar, one set of limits."""
    loras = [body.lora] if isinstance(body.lora, str) else body.lora
    named = {"image_id": body.image_id, "strength": body.strength, "prompt": body.prompt}
    given = {**named, "seed": body.seed}
    fields = [(name, str(value)) for name, value in given.items() if value is not None]
    return read_job_form(
        (*fields, *(("lora", lora) for lora in loras)),
        has_file=False,
        settings=settings,
        language=language,
    )
