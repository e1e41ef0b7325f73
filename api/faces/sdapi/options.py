"""Options that a client sets and expects to find again: stored for each caller, for a day.

Owns which of them have a meaning here. In AUTOMATIC1111 they belong to the server and apply to
everyone.
"""

from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.access.guard import who
from api.access.keys import Caller
from api.faces.sdapi.lists import upscaler_named
from api.services import Services
from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from api.wire.wording import field_problems
from shared.messages import Language

LIFE_SECONDS = 86_400


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Options(BaseModel):
    """The options that have an effect; others are accepted and dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sd_model_checkpoint: str | None = None
    samples_format: Annotated[Literal["png", "jpg", "jpeg", "webp"], BeforeValidator(_lower)] = (
        "png"
    )
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90
    upscaler_for_img2img: str | None = None


def options_of(request: Request, services: Services, caller: Caller) -> Options:
    """The options that this caller has set. Call from a thread."""
    return Options.model_validate_json(services.notes.read(_name(request, caller)) or "{}")


def set_options(
    request: Request, services: Services, caller: Caller, changes: dict[str, Any]
) -> None:
    """Stores these beside the options set before. Raises InvalidFields. Call from a thread."""
    changed = changed_options(options_of(request, services, caller), changes, services, "en")
    text = changed.model_dump_json(exclude_defaults=True)
    services.notes.write(_name(request, caller), text, LIFE_SECONDS)


def changed_options(
    options: Options, changes: dict[str, Any], services: Services, language: Language
) -> Options:
    """The options with these changes, checked. Raises InvalidFields."""
    known = {key: value for key, value in changes.items() if key in Options.model_fields}
    try:
        changed = Options.model_validate(options.model_dump() | known)
    except ValidationError as error:
        raise InvalidFields(field_problems(error.errors(), language)) from error
    if changed.sd_model_checkpoint and not services.roster.find(changed.sd_model_checkpoint):
        served = ", ".join(one.name for one in services.roster.candidates())
        en = f"is not served here: this service runs '{served}'"
        detail = f"不可用：本服务运行 {served}" if language == "zh" else en
        raise InvalidFields([FieldProblem(pointer="/sd_model_checkpoint", detail=detail)])
    return changed


def shown_options(options: Options, services: Services) -> dict[str, Any]:
    """All options that clients look for, with their values here."""
    return {
        "sd_model_checkpoint": options.sd_model_checkpoint or services.roster.default.name,
        "sd_checkpoint_hash": "",
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "img2img_fix_steps": False,
        "samples_save": False,
        "samples_format": options.samples_format,
        "jpeg_quality": options.jpeg_quality,
        "upscaler_for_img2img": options.upscaler_for_img2img,
        "live_previews_enable": True,
        "show_progress_every_n_steps": 1,
    }


def option_fields(options: Options, services: Services) -> tuple[tuple[str, str], ...]:
    """The options as fields of a job."""
    kind = "jpeg" if options.samples_format == "jpg" else options.samples_format
    fields: tuple[tuple[str, str], ...] = (("format", kind), ("quality", str(options.jpeg_quality)))
    if options.sd_model_checkpoint:
        fields = (*fields, ("base", options.sd_model_checkpoint))
    upscaler = upscaler_named(services, options.upscaler_for_img2img)
    return fields if upscaler is None else (*fields, ("upscaler", upscaler))


def _name(request: Request, caller: Caller) -> str:
    return f"sdapi-options:{who(request, caller)}"
