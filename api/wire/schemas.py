"""The schemas of answers, as the OpenAPI document shows them.

Owns names and examples in the API. presenter.py fills them.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from shared.jobs import DeliveryState, JobState, Stage, Timings
from shared.params import (
    AskedFormat,
    Fidelity,
    ImageFormat,
    LoraMode,
    LoraRef,
    Metadata,
    Priority,
    Sampler,
    Upscale,
    WebhookEvent,
)


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)

    def shown(self) -> dict[str, Any]:
        """The value as JSON represents it."""
        return self.model_dump(mode="json", warnings=False)


class _RecordView(_View):
    """A view of a stored record: values from a later version are shown unchanged."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _show_what_is_not_known(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:
            return value


class ProgressView(_View):
    """The progress of a job; `message` is for people, in the caller's language."""

    percent: float = Field(ge=0, le=100, examples=[62.5])
    step: int = Field(examples=[2])
    total_steps: int = Field(examples=[4])
    eta_seconds: float | None = Field(examples=[0.8])
    message: str = Field(examples=["Enhancing"])


class QueueView(_View):
    """Jobs ahead of this one, and waiting jobs in total."""

    position: int = Field(examples=[0])
    size: int = Field(examples=[3])


class ParamsView(_RecordView):
    """The job's parameters. With `lora_mode` auto, missing values are filled in once a worker has
    measured the photo.
    """

    lora_mode: LoraMode
    loras: list[LoraRef]
    lora_reason: str | None
    strength: float | None
    steps: int
    executed_steps: int
    guidance_scale: float | None
    sampler: Sampler | None
    sampler_reason: str | None
    timestep: int | None
    pixel_scale: float | None
    semantic_scale: float | None
    prompt: str | None
    trigger_words: bool
    negative_prompt: str | None
    seed: int | None
    max_side: int | None
    upscale: Upscale
    upscale_reason: str | None
    upscaler: str
    format: AskedFormat
    quality: int
    metadata: Metadata
    fidelity: Fidelity | None
    pyramid: int | None
    preview: bool
    priority: Priority
    webhook_url: str | None
    webhook_events: list[WebhookEvent]
    result_url: str | None
    embed_metadata: bool
    force: bool
    deterministic: bool


class NoticeView(_View):
    """A notice that is not an error."""

    code: str = Field(examples=["vae_tiling"])
    message: str


class SourceView(_View):
    """The photo as it was sent, upright; `warnings` say what was changed about it."""

    width: int = Field(examples=[4000])
    height: int = Field(examples=[3000])
    format: str = Field(examples=["jpeg"])
    has_alpha: bool
    warnings: list[NoticeView]


class MaskView(_View):
    """The size of the mask that limits where the result replaces the photo, as it was sent."""

    width: int = Field(examples=[1024])
    height: int = Field(examples=[768])


class SafetyView(_RecordView):
    """The guards' measurements. `flags` are what is suspected, and `warnings` say it in words."""

    nsfw: float | None = Field(
        description="How probably the picture is unsafe, 0 to 1; null if that guard is off."
    )
    flags: list[str] = Field(examples=[["maybe_watermark"]])
    warnings: list[NoticeView]


class ResultView(_RecordView):
    """The finished picture. `sha256` is of the bytes that `links.image` serves."""

    width: int
    height: int
    format: ImageFormat
    size_bytes: int
    sha256: str
    upscale: int = Field(description="Factor of enlargement.", examples=[2])
    upscaler: str | None = Field(
        description="What enlarged it, or brought it back to its size after a LoRA that works on "
        "smaller photos: an enlarger's name, or lanczos, a filter.",
        examples=["retouch"],
    )
    safety: SafetyView
    ran_by: dict[str, str] = Field(
        description="By part of the base, what computed it: torch, or the compiler of an engine.",
        examples=[{"unet": "tensorrt", "vae_decoder": "torch"}],
    )


class ErrorView(_View):
    """Why a job failed."""

    code: str = Field(examples=["out_of_memory"])
    message: str
    advice: str
    retryable: bool
    flags: list[str] = Field(description="What the guards found.", examples=[["code"]])
    loras: list[str] = Field(
        description="LoRAs that caused the failure.", examples=[["denoise_tiny"]]
    )


class LinksView(_View):
    """Addresses of everything that belongs to a job, relative to this service."""

    self: str
    events: str
    socket: str
    image: str
    preview: str
    source: str
    cancel: str


class WebhookView(_RecordView):
    """The state of a finished job's webhook; `reason` says why the last attempt failed."""

    state: DeliveryState
    attempts: int
    reason: NoticeView | None


class JobView(_RecordView):
    """A job as its owner sees it."""

    id: str = Field(examples=["0123456789abcdef0123456789abcdef"])
    state: JobState
    stage: Stage | None
    progress: ProgressView
    queue: QueueView
    attempt: int
    base: str
    worker: str | None
    params: ParamsView
    degraded: list[NoticeView]
    source: SourceView
    mask: MaskView | None
    result: ResultView | None
    timings: Timings
    error: ErrorView | None
    webhook: WebhookView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    links: LinksView


class LaterView(JobView):
    """A job that is not finished yet, and a message that says where its picture will be."""

    message: str = Field(examples=["The picture is not finished yet. Fetch it at …"])


class JobPage(_View):
    """Some of the caller's jobs, newest first; `next_cursor` is null on the last page."""

    items: list[JobView]
    next_cursor: str | None


class TicketView(_View):
    """A permit for `?ticket=` on a job's events and socket."""

    ticket: str
    expires_at: datetime


class ReportForm(_View):
    """What is wrong with a finished picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Literal["watermark", "unsafe", "other"]
    note: str = Field("", max_length=500, description="For the operator's log.")


class ReportView(_View):
    """The LoRAs that the report counts against; empty for the base alone."""

    loras: list[str] = Field(examples=[["denoise_tiny"]])


class ImageView(_View):
    """A stored upload. The id is the sha256 of its normalised bytes."""

    id: str
    width: int
    height: int
    expires_at: datetime
    warnings: list[NoticeView]


class LoraView(_View):
    """One LoRA of the catalogue; `reason` says why it is not available."""

    name: str = Field(examples=["face_restore_v1.5"])
    short_name: str = Field(examples=["face_restore"])
    title: str
    bases: list[str]
    base: str
    served_by: list[str] = Field(
        description="Names of the bases of its family that workers serve now.",
        examples=[["sd15/dreamshaper-8"]],
    )
    kind: str
    state: str
    reason: str | None
    default_scale: float
    strength: float | None
    steps: int | None
    sampler: Sampler | None
    guidance_scale: float | None
    timestep: int | None
    few_steps: str | None = Field(
        description="The family of a LoRA that was distilled for few steps.", examples=["LCM"]
    )
    treats: list[str]
    trigger_words: list[str]
    complaints: list[str] = Field(description="Fields of its settings file that are ignored.")
    unplaced: list[str] = Field(description="Tensors without a counterpart in the running base.")
    reason_code: str | None
    rank: int | None
    licence: str | None
    source: str | None
    size_bytes: int
    sha256: str
    sample_url: str | None


class LoraList(_View):
    """The catalogue, by name."""

    items: list[LoraView]


class UpscalerView(_View):
    """One enlarger of the catalogue; `reason` says why it is not available."""

    name: str = Field(examples=["retouch"])
    title: str
    kind: str = Field(examples=["rrdbnet"])
    factors: list[int] = Field(
        description="Factors that it was made for; others are derived from these."
    )
    state: str
    reason: str | None
    size_bytes: int
    sha256: str
    licence: str | None


class UpscalerList(_View):
    """The enlargers, by name."""

    items: list[UpscalerView]


class WorkerView(_View):
    """A worker process with a recent heartbeat."""

    id: str
    host: str
    pid: int
    device: str
    base: str
    fingerprint: str
    profile: str
    residency: dict[str, object]
    in_flight: int
    last_heartbeat_at: datetime


class WorkerList(_View):
    """The live fleet."""

    items: list[WorkerView]


class BaseView(_View):
    """A base checkpoint and the settings that suit it. `id` is the value of a job's `base`."""

    id: str = Field(examples=["sd15/dreamshaper-8"])
    family: str = Field(examples=["sd15"])
    label: str = Field(examples=["SD 1.5"])
    guidance_scale: float
    steps: int
    sampler: Sampler | None
    workers: int = Field(description="Workers that serve it now.")
    served: bool
    complaints: list[str] = Field(description="Fields of its settings file that are ignored.")


class LimitsView(_View):
    """The limits of this deployment."""

    max_upload_bytes: int
    max_pixels: int
    max_result_pixels: int
    min_side: int
    max_side: int
    max_loras: int
    max_lora_scale: float
    max_steps: int
    max_prompt_characters: int
    queue_limit: int
    rate_limit: str


class FormatsView(_View):
    """Picture formats, by direction."""

    input: list[str]
    output: list[str]


class Capabilities(_View):
    """What this deployment offers."""

    base: BaseView
    bases: list[BaseView]
    limits: LimitsView
    formats: FormatsView
    image_urls: bool = Field(description="Whether jobs may name their photo by `image_url`.")
    workers: int
    versions: dict[str, str]


class Health(_View):
    """The process is alive."""

    status: str = Field(examples=["ok"])


class Readiness(_View):
    """Whether jobs are accepted, check by check. `worker` and `persistence` are for information."""

    ready: bool
    checks: dict[str, str] = Field(
        examples=[{"store": "ok", "disk": "ok", "worker": "no_worker", "persistence": "ok"}]
    )
    unserved: dict[str, int] = Field(
        description="Jobs that wait for a base without a worker, by base.",
        examples=[{"sd15/dreamshaper-8": 2}],
    )
