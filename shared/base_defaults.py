"""The settings that suit a checkpoint, from the `.toml` that its owner puts beside it.

`dreamshaper-8.toml` beside `dreamshaper-8.safetensors`, or `retouch.toml` in the checkpoint's
folder. A field that cannot be used is named in `complaints`, never dropped silently.
"""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from shared.bases import Base
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.places import find_checkpoint
from shared.params import MAX_PROMPT, Guidance, Sampler
from shared.record import Record

FOLDER_FILE = "retouch.toml"
MAX_FILE_BYTES = 64 * 1024
_Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]


class BaseDefaults(Record):
    """The values of a base for what a caller leaves out; None where the family's own count."""

    steps: Annotated[int, Field(ge=1, le=50)] | None = None
    guidance_scale: Guidance | None = None
    strength: Annotated[float, Field(ge=0.05, le=1)] | None = None
    sampler: Sampler | None = None
    prompt: _Prompt | None = None
    negative_prompt: _Prompt | None = None
    complaints: tuple[str, ...] = ()

    def applied_to(self, base: Base) -> Base:
        """The family with these defaults."""
        return replace(base, **self.said)

    @property
    def said(self) -> dict[str, Any]:
        """The values that the file names, without fields that only another version knows."""
        known = {field.name for field in fields(Base)}
        return dict(self.of_this_version().model_dump(include=known, exclude_none=True))


def base_defaults_of(base_model: str) -> BaseDefaults:
    """The settings beside the checkpoint that a setting names; empty if it is not here yet."""
    try:
        place = find_checkpoint(base_model)
    except BadCheckpoint:
        return BaseDefaults()
    return read_base_defaults(place) if place is not None else BaseDefaults()


def read_base_defaults(place: Path) -> BaseDefaults:
    """The settings beside a checkpoint's folder or file; empty without a file."""
    path = place / FOLDER_FILE if place.is_dir() else place.with_suffix(".toml")
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            return BaseDefaults(complaints=(f"{path.name} has more than {MAX_FILE_BYTES} bytes",))
        return _checked(path.name, tomllib.loads(raw.decode("utf-8")))
    except FileNotFoundError:
        return BaseDefaults()
    except (OSError, ValueError) as error:
        return BaseDefaults(complaints=(f"{path.name} cannot be read: {str(error)[:100]}",))


def _checked(name: str, said: dict[str, Any]) -> BaseDefaults:
    known = set(BaseDefaults.model_fields) - {"complaints"}
    bad = {key: "is not a setting of a base" for key in said if key not in known}
    kept = {key: value for key, value in said.items() if key in known}
    try:
        BaseDefaults(**kept)
    except ValidationError as error:
        bad |= {str(item["loc"][0]): item["msg"] for item in error.errors()}
    kept = {key: value for key, value in kept.items() if key not in bad}
    complaints = tuple(f"{name}: {key[:40]}: {why}" for key, why in bad.items())
    return BaseDefaults(**kept, complaints=complaints)
