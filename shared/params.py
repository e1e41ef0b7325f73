"""The parameters of a job, with ranges and defaults. Used by gateway and worker.

Owns the parameters' names and limits. Knows nothing of HTTP forms or pipelines.
"""

import re
import secrets
import unicodedata
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from shared.record import Record

LORA_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
# Upper bounds for every deployment; its own limits are RETOUCH_MAX_LORAS and
# RETOUCH_MAX_LORA_SCALE.
MOST_LORAS = 64
MOST_LEVELS = 3
LARGEST_SCALE = 100.0
MAX_NAME_CHARACTERS = 128
# Control characters, marks that reorder or hide text, lone surrogates; and the separators of paths
# and of a name from its scale.
_UNUSABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\\\\:]"
)
MAX_SEED = 2**32 - 1
MAX_PROMPT = 1000
DEFAULT_PROMPT = "high quality, sharp, clean, 4k, detailed skin texture"
DEFAULT_STRENGTH = 0.4
DEFAULT_STEPS = 10
DEFAULT_SAMPLER: Final = "dpmpp_2m"
# `once` is a single prediction at one noise level, as in HYPIR.
DEFAULT_TIMESTEP = 200

ImageFormat = Literal["png", "jpeg", "webp"]
AskedFormat = Literal["auto", "png", "jpeg", "webp"]
Metadata = Literal["none", "keep"]
Fidelity = Literal["none", "low", "residual", "wavelet", "adain"]
Sampler = Literal["dpmpp_2m", "euler", "lcm", "tcd", "once"]
# What the network's output is to the sampler `once`: what the base predicts, or the difference
# between the given latents and the restored ones.
Prediction = Literal["base", "difference"]
WorkAt = Literal["source", "target"]
Priority = Literal["interactive", "batch"]
WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled"]

MEDIA_TYPES: dict[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def _split(value: object) -> object:
    """A form sends a list as one text."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _factor(value: object) -> object:
    """A form sends a number as text; `2.0` is 2."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if isinstance(value, (str, float)) else value
    except ValueError:
        return value
    return int(number) if isinstance(number, float) and number.is_integer() else value


Upscale = Annotated[Literal["auto", 1, 2, 3, 4], BeforeValidator(_factor)]
Guidance = Annotated[float, Field(ge=0, le=20, allow_inf_nan=False)]


Timestep = Annotated[int, Field(ge=1, le=999)]
PartScale = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
WebhookEvents = Annotated[list[WebhookEvent], BeforeValidator(_split), Field(min_length=1)]
ALL_EVENTS: list[WebhookEvent] = ["job.succeeded", "job.failed", "job.canceled"]


class LoraMode(StrEnum):
    """How the LoRAs of a job were chosen."""

    AUTO = "auto"
    NONE = "none"
    NAMED = "named"


def is_lora_name(text: str) -> bool:
    """Whether a text can be a LoRA's name: any script, with slashes between folders."""
    if len(text) > MAX_NAME_CHARACTERS or _UNUSABLE.search(text):
        return False
    folders = text.split("/")
    return all(name and name == name.strip() and name[0] != "." for name in folders)


def _checked_name(text: str) -> str:
    name = unicodedata.normalize("NFC", text.strip())
    if not is_lora_name(name):
        raise PydanticCustomError("lora_name", "is not a valid name")
    return name


LoraName = Annotated[str, Field(min_length=1), AfterValidator(_checked_name)]


class LoraRef(Record):
    """One LoRA of a job. `sha256` pins the file that the catalogue offered at submission."""

    name: LoraName
    scale: Annotated[float, Field(ge=-LARGEST_SCALE, le=LARGEST_SCALE, allow_inf_nan=False)] = 1.0
    sha256: str | None = None


class Elsewhere(Record):
    """A LoRA on another base, for damage that no LoRA of the job's own base treats."""

    base: str
    treats: list[str]
    lora: LoraRef
    strength: float | None = None


class JobParams(Record):
    """The parameters of one job, complete once `with_defaults` has filled in missing values."""

    base: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    lora_mode: LoraMode = LoraMode.AUTO
    loras: Annotated[list[LoraRef], Field(max_length=MOST_LORAS)] = []
    lora_reason: str | None = None
    lora_reason_zh: str | None = None
    elsewhere: list[Elsewhere] = []
    strength: Annotated[float, Field(ge=0.05, le=1, allow_inf_nan=False)] | None = None
    steps: Annotated[int, Field(ge=1, le=50)] | None = None
    guidance_scale: Guidance | None = None
    sampler: Sampler | None = None
    timestep: Timestep | None = None
    # Of a LoRA with two parts (PiSA-SR): the shares of `strength` for fidelity and for detail.
    pixel_scale: PartScale | None = None
    semantic_scale: PartScale | None = None
    sampler_reason: str | None = None
    sampler_reason_zh: str | None = None
    prompt: Annotated[str, Field(max_length=MAX_PROMPT)] | None = None
    trigger_words: bool = True
    negative_prompt: Annotated[str, Field(max_length=1000)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    max_side: Annotated[int, Field(ge=64)] | None = None
    upscale: Upscale = "auto"
    upscale_reason: str | None = None
    upscale_reason_zh: str | None = None
    upscaler: Annotated[str, Field(pattern=LORA_NAME)] = "auto"
    upscaler_sha256: str | None = None
    format: AskedFormat = "auto"
    quality: Annotated[int, Field(ge=1, le=100)] = 92
    metadata: Metadata = "none"
    fidelity: Fidelity | None = None
    # Sizes that the picture is treated at, each half the next.
    pyramid: Annotated[int, Field(ge=1, le=MOST_LEVELS)] | None = None
    preview: bool = True
    priority: Priority = "interactive"
    webhook_url: Annotated[str, Field(max_length=2000)] | None = None
    webhook_events: WebhookEvents = ALL_EVENTS
    result_url: Annotated[str, Field(max_length=4000)] | None = None
    embed_metadata: bool = False
    force: bool = False
    deterministic: bool = False

    @property
    def executed_steps(self) -> int:
        """The number of executed denoising steps, as diffusers' `get_timesteps` computes it."""
        if self.sampler == "once":
            return 1
        return executed_steps(
            DEFAULT_STEPS if self.steps is None else self.steps,
            DEFAULT_STRENGTH if self.strength is None else self.strength,
        )

    @property
    def asks_for_parts(self) -> bool:
        """Whether the caller weighed the two parts of a LoRA."""
        return self.pixel_scale is not None or self.semantic_scale is not None

    @property
    def factor(self) -> int:
        """The factor by which the result is enlarged; 1 while `auto` is not settled."""
        return 1 if self.upscale == "auto" else self.upscale

    def with_seed(self) -> Self:
        """Returns the parameters with a seed; a random one if the caller gave none."""
        if self.seed is not None:
            return self
        return self.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})


class AskedParams(JobParams):
    """The parameters as a caller sends them; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _names_are_given_once(self) -> Self:
        names = [lora.name for lora in self.loras]
        if len(set(names)) != len(names):
            raise ValueError("a LoRA is named twice")
        return self


def executed_steps(steps: int, strength: float) -> int:
    """`min(int(steps*strength), steps)`, and at least one."""
    return max(1, min(int(steps * strength), steps))
