"""The forms of `edits` and `variations`, checked and converted to the fields of a job.

Owns the meaning of each of OpenAI's parameters. A job's own fields (`strength`, `seed`, `steps`,
...) may be sent beside them, as `extra_body` of OpenAI's clients does.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.faces.fitting import LARGEST_SIDE, Size, Wanted
from api.jobs.entrance import Fields
from api.jobs.job_form import PARAM_FIELDS
from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from api.wire.wording import field_problems
from shared.messages import Language
from shared.params import ImageFormat

MOST_IMAGES = 16
SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
# Accepted without effect; the answer lists those that were sent.
IGNORED = frozenset(
    {"user", "safety_identifier", "input_fidelity", "moderation", "complexity", "style"}
)
OWN = frozenset({"lora", *PARAM_FIELDS}) - {
    "prompt",
    "format",
    "quality",
    "webhook_url",
    "result_url",
}
# Requested denoising steps; the number of executed steps depends on the strength, as in every job.
STEPS = {"low": "5", "high": "20", "hd": "20", "xhigh": "30", "max": "50"}


def _unless_empty(value: object) -> object:
    return None if value in ("", "null", "None") else value


def _size(value: object) -> object:
    if value in (None, "auto"):
        return None
    found = SIZE.fullmatch(str(value))
    if not found:
        raise ValueError("must be auto, or WIDTHxHEIGHT in pixels")
    size = int(found[1]), int(found[2])
    if not 16 <= min(size) <= max(size) <= LARGEST_SIDE:
        raise ValueError(f"must have sides of 16 to {LARGEST_SIDE} pixels")
    return size


class EditForm(BaseModel):
    """The contents of a form, apart from its pictures and a job's own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | None = None
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: Annotated[Size | None, BeforeValidator(_size)] = None
    quality: Literal["auto", "low", "medium", "high", "standard", "hd", "xhigh", "max"] = "auto"
    output_format: ImageFormat = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] = 100
    background: Literal["auto", "opaque", "transparent"] = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0

    @property
    def wanted(self) -> Wanted | None:
        """The size into which the result must fit."""
        return Wanted(self.size, "within") if self.size else None

    @property
    def encoding_quality(self) -> int:
        return max(1, self.output_compression)

    def job_fields(self) -> Fields:
        """Converts the form to fields of a job."""
        fields = [("format", self.output_format), ("quality", str(self.encoding_quality))]
        if self.prompt:
            fields.append(("prompt", self.prompt))
        if self.quality in STEPS:
            fields.append(("steps", STEPS[self.quality]))
        return tuple(fields)


class ReadForm(BaseModel):
    """A form's parameters, the job's own fields beside them, and the parameters without effect."""

    model_config = ConfigDict(frozen=True)

    form: EditForm
    own: Fields
    ignored: list[str]

    def fields(self, lora: str | None, place: int) -> Fields:
        """The fields of the job for result number `place`."""
        given = {name for name, _ in self.own}
        fields = [pair for pair in self.form.job_fields() if pair[0] not in given]
        if lora is not None and "lora" not in given:
            fields.append(("lora", lora))
        own = [
            (name, str(int(value) + place))
            if name == "seed" and value.isdecimal()
            else (name, value)
            for name, value in self.own
        ]
        return (*fields, *own)


def read_form(items: Iterable[tuple[str, str]], language: Language) -> ReadForm:
    """Parses and checks the form. Raises InvalidFields, which names every invalid parameter."""
    values: dict[str, Any] = {}
    own: list[tuple[str, str]] = []
    ignored: list[str] = []
    problems: list[FieldProblem] = []
    for name, value in items:
        if name in IGNORED:
            ignored.append(name)
        elif name in OWN:
            own.append((name, value))
        elif name in values:
            problems += field_problems([{"loc": (name,), "type": "given_twice"}], language)
        elif _unless_empty(value) is not None:
            values[name] = value
    try:
        form = EditForm.model_validate(values)
    except ValidationError as error:
        raise InvalidFields(problems + field_problems(error.errors(), language)) from error
    if problems:
        raise InvalidFields(problems)
    return ReadForm(form=form, own=tuple(own), ignored=sorted(set(ignored)))
