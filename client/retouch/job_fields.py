"""The fields of a job as keywords of `submit`, and their encoding in a form.

Owns the names, which are those of `POST /v1/jobs`; the service checks their ranges. The service
chooses the value of a field that is absent or None.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, TypedDict, get_args

Photo = bytes | str | os.PathLike[str]
PictureFormat = Literal["png", "jpeg", "webp"]
PICTURE_FORMATS: tuple[PictureFormat, ...] = get_args(PictureFormat)
MASK: Final = "mask"
AskedFormat = Literal["auto", "png", "jpeg", "webp"]
SamplerName = Literal["dpmpp_2m", "euler", "lcm", "tcd", "once"]
WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled"]


class JobFields(TypedDict, total=False):
    """The fields of one job; a service's `/docs` lists the ranges."""

    image_id: str | None
    image_url: str | None  # fetched by the service, if it allows that
    mask: Photo | None  # a picture that is white where the result replaces the photo
    lora: str | Iterable[str] | None
    base: str | None
    strength: float | None
    steps: int | None
    guidance_scale: float | None
    sampler: SamplerName | None
    timestep: int | None
    pixel_scale: float | None  # of a LoRA with two parts
    semantic_scale: float | None
    prompt: str | None
    trigger_words: bool | None
    negative_prompt: str | None
    seed: int | None
    max_side: int | None
    upscale: float | str | None  # 1 to 4, or "auto"
    upscaler: str | None
    format: AskedFormat | None
    quality: int | None
    fidelity: Literal["none", "low", "residual", "wavelet", "adain"] | None
    pyramid: int | None
    preview: bool | None
    priority: Literal["interactive", "batch"] | None
    webhook_url: str | None
    webhook_events: Iterable[WebhookEvent] | None
    result_url: str | None  # where the service sends the finished picture by PUT
    metadata: Literal["none", "keep"] | None
    embed_metadata: bool | None
    force: bool | None
    deterministic: bool | None


def named_bytes(photo: Photo) -> tuple[str, bytes]:
    """A file name for the form, and the photo's bytes. Raises OSError."""
    if isinstance(photo, bytes):
        return "photo", photo
    path = Path(photo)
    # A name that is not UTF-8 cannot be written in a form.
    return os.fsencode(path.name).decode("utf-8", "replace"), path.read_bytes()


def form_fields(fields: Mapping[str, object]) -> dict[str, str | list[str]]:
    """The given fields, as a form encodes them; the mask is a file."""
    sent = {name: value for name, value in fields.items() if value is not None and name != MASK}
    return {name: _spelled(value) for name, value in sent.items()}


def _spelled(value: object) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [str(item) for item in value]
    return str(value)
