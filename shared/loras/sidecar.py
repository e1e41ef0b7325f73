"""The operator's description of a LoRA in the `name.toml` beside it.

Every field is optional. An invalid or unknown field is ignored and named in `complaints`, so that a
mistake in a text file never removes a sound LoRA from the list.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from shared.loras.entry import Damage
from shared.loras.neighbours import Neighbour
from shared.loras.reasons import clean
from shared.params import Fidelity, Guidance, Prediction, Sampler, Timestep, WorkAt

MAX_SIDECAR_BYTES = 64 * 1024
# Determined from the folder, never read from the file.
_NOT_IN_FILES = frozenset({"complaints", "sample_path", "base"})

_Line = Annotated[str, Field(max_length=200)]
_Word = Annotated[str, Field(max_length=64)]
_Prompt = Annotated[str, Field(max_length=1000)]
_Sample = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(png|jpg|jpeg|webp)$")]


class Sidecar(BaseModel):
    """The fields of a `name.toml`; `title` is one string or one per language."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: dict[_Word, _Line] = {}
    default_scale: Annotated[float, Field(ge=-5, le=5)] = 1.0
    strength: Annotated[float, Field(ge=0.05, le=1)] | None = None
    steps: Annotated[int, Field(ge=1, le=50)] | None = None
    sampler: Sampler | None = None
    timestep: Timestep | None = None
    prediction: Prediction | None = None
    guidance_scale: Guidance | None = None
    fidelity: Fidelity | None = None
    work_at: WorkAt | None = None
    shrink: Annotated[float, Field(ge=0.25, le=1)] = 1.0
    treats: Annotated[list[Damage], Field(max_length=8)] = []
    trigger_words: Annotated[list[_Word], Field(max_length=32)] = []
    prompt: _Prompt | None = None
    negative_prompt: _Prompt | None = None
    licence: _Line | None = None
    source: _Line | None = None
    sample: _Sample | None = None
    sample_path: Path | None = None
    base: str = ""
    complaints: tuple[str, ...] = ()

    @field_validator("title", mode="before")
    @classmethod
    def _same_title_everywhere(cls, value: object) -> object:
        return {"en": value, "zh": value} if isinstance(value, str) else value


def completed(sidecar: Sidecar, neighbour: Neighbour) -> Sidecar:
    """A sidecar whose missing values are filled in from other programs' files."""
    said = sidecar.model_fields_set
    title = {"en": neighbour.title, "zh": neighbour.title} if neighbour.title else {}
    gaps: dict[str, object] = {"base": neighbour.base}
    if not sidecar.title:
        gaps["title"] = title
    if "trigger_words" not in said:
        gaps["trigger_words"] = list(neighbour.trigger_words)
    if "default_scale" not in said and neighbour.scale is not None:
        gaps["default_scale"] = neighbour.scale
    return sidecar.model_copy(update=gaps)


def read_sidecar(path: Path) -> Sidecar:
    """Reads a `name.toml`; missing, unreadable or invalid values leave the defaults."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_SIDECAR_BYTES:
            return _complain(path, f"has more than {MAX_SIDECAR_BYTES} bytes")
        return _validated(path, tomllib.loads(raw.decode("utf-8")))
    except FileNotFoundError:
        return Sidecar()
    except (OSError, ValueError) as error:
        return _complain(path, f"cannot be read: {clean(str(error), 100)}")


def _complain(path: Path, what: str) -> Sidecar:
    return Sidecar(complaints=(f"{path.name} {what}",))


def _validated(path: Path, fields: dict[str, Any]) -> Sidecar:
    known = set(Sidecar.model_fields) - _NOT_IN_FILES
    bad = {key: "is not a setting of a LoRA" for key in fields if key not in known}
    kept = {key: value for key, value in fields.items() if key not in bad}
    try:
        Sidecar(**kept)
    except ValidationError as error:
        bad |= {str(item["loc"][0]): item["msg"] for item in error.errors()}
    kept = {key: value for key, value in kept.items() if key not in bad}
    complaints = tuple(f"{path.name}: {clean(key, 40)}: {why}" for key, why in bad.items())
    return Sidecar(**kept, complaints=complaints)
