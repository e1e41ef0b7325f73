"""The job: what a client asked for, and its outcome.

Owns the records that cross processes. Knows nothing of Redis (shared/ledger/store.py stores them),
HTTP or pipelines.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from shared.messages import Language
from shared.params import ImageFormat, JobParams
from shared.record import OpenEnum, Record

# Compared with `JobSpec.needs`.
RECORDS_VERSION = 3
# Workers of the version before would ignore a job's sampler, or its mask.
SAMPLERS_SINCE = 2
MASKS_SINCE = 3


class JobState(OpenEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """A state unknown to this version may still change."""
        return self.is_known and self not in (JobState.QUEUED, JobState.RUNNING)


class Stage(OpenEnum):
    """The stages of a running job, in this order."""

    LOADING = "loading"
    ENCODING = "encoding"
    DENOISING = "denoising"
    DECODING = "decoding"
    CHECKING = "checking"
    SAVING = "saving"


class EventKind(OpenEnum):
    """The kinds of events on a job's stream."""

    STATE = "state"
    PROGRESS = "progress"
    PREVIEW = "preview"
    RESULT = "result"
    ERROR = "error"


class Progress(Record):
    """The progress of a running job. `percent` is 100 only when the picture can be fetched."""

    stage: Stage | None = None
    percent: float = 0.0
    step: int = 0
    total_steps: int = 0
    eta_seconds: float | None = None


class Failure(Record):
    """Why a job failed: an error's code and message. Exceptions do not leave their process.

    `flags` are the guards' findings, and `loras` the files that were used in that case. `refused`
    is the blob with the picture that a guard refused; only the service's operator may see it.
    """

    code: str
    message: str
    retryable: bool = False
    flags: list[str] = []
    loras: list[str] = []
    refused: str | None = None


class Degraded(Record):
    """Something that was given up so that the job fits its device."""

    code: str


class Timings(Record):
    """Seconds spent in each part of a job."""

    queued_seconds: float = 0.0
    loading_seconds: float = 0.0
    encoding_seconds: float = 0.0
    preview_seconds: float = 0.0
    denoising_seconds: float = 0.0
    decoding_seconds: float = 0.0
    enlarging_seconds: float = 0.0
    checking_seconds: float = 0.0
    saving_seconds: float = 0.0
    total_seconds: float = 0.0


class Safety(Record):
    """The output guards' measurements: a probability of unsafe content, and named findings."""

    nsfw: float | None = None
    flags: list[str] = []


class Result(Record):
    """A finished picture: where its bytes are and their properties; and for each part of the base,
    what computed it (`torch`, `tensorrt`, or both if steps differed). `upscaler` is the enlarger
    that was used, or None.
    """

    blob: str
    width: int
    height: int
    format: ImageFormat
    size_bytes: int
    sha256: str
    safety: Safety = Safety()
    ran_by: dict[str, str] = {}
    upscale: int = 1
    upscaler: str | None = None


class Preview(Record):
    """The latest preview: where its bytes are, and its size in pixels."""

    blob: str
    width: int
    height: int
    media_type: str = "image/webp"


class About(Record):
    """The metadata of a photo that `metadata=keep` keeps. Never a place, never a serial number."""

    taken_at: str | None = None
    offset: str | None = None
    author: str | None = None
    copyright: str | None = None
    dpi: tuple[float, float] | None = None


class Source(Record):
    """A normalised upload: upright sRGB without metadata, named by the sha256 of its bytes.

    `format` is that of the upload, `has_alpha` whether parts of it are transparent, `warnings` are
    codes of the changes made to it.
    """

    image_id: str
    blob: str
    width: int
    height: int
    size_bytes: int
    format: str = "png"
    has_alpha: bool = False
    warnings: list[str] = []
    about: About = About()


class Mask(Record):
    """Where the result replaces the photo: one level per pixel, scaled to the photo's size."""

    blob: str
    width: int
    height: int
    size_bytes: int


class DeliveryState(OpenEnum):
    """The states of a webhook."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Delivery(Record):
    """The outcome of a finished job's webhook. `reason` is the code of the last attempt's
    failure.
    """

    state: DeliveryState
    attempts: int = 0
    reason: str | None = None


class JobSpec(Record):
    """A job as requested. Never changes after submission, except that a worker may give a job
    without a LoRA to another base that has one for it. `language` is its sender's, and
    `sender` tells callers without a key apart, who have one `client` in common.

    `request` and `trace` (a traceparent) say for logs and traces where it came from.

    `needs` is the lowest RECORDS_VERSION of a worker that can do the job: a version that adds a
    feature which must not be ignored raises its own version, and writes it into the jobs that use
    the feature.
    """

    id: str
    client: str
    base: str
    source: Source
    params: JobParams
    language: Language = "en"
    needs: int = 1
    mask: Mask | None = None
    request: str = ""
    trace: str = ""
    sender: str = ""


class Event(Record):
    """One entry of a job's stream; `id` is the stream's own and orders events."""

    id: str
    kind: EventKind
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether the stream ends with this event: a result, an error, or a cancellation."""
        if self.kind in (EventKind.RESULT, EventKind.ERROR):
            return True
        return self.kind is EventKind.STATE and self.data.get("state") == JobState.CANCELED


class Claim(Record):
    """A worker's claim of a job: fenced by `epoch`, lost when the lease expires."""

    spec: JobSpec
    worker: str
    epoch: int
    attempt: int
    percent: float
    queued_seconds: float

    @property
    def is_understood(self) -> bool:
        """Whether this version supports everything that the job requires of a worker."""
        return self.spec.needs <= RECORDS_VERSION and not self.spec.params.strange


class Job(Record):
    """The current state of a job in the ledger.

    `is_served` is whether a living worker serves the base that a queued job waits for.
    """

    spec: JobSpec
    state: JobState
    params: JobParams
    progress: Progress
    epoch: int
    attempt: int
    worker: str | None
    cancel_requested: bool
    degraded: list[Degraded]
    preview: Preview | None
    result: Result | None
    failure: Failure | None
    timings: Timings
    webhook: Delivery | None = None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    queue_position: int = 0
    queue_size: int = 0
    is_served: bool = True

    @property
    def id(self) -> str:
        return self.spec.id


class StepSignal(StrEnum):
    """The ledger's answer to a report from a running job."""

    GO_ON = "go_on"
    CANCELED = "canceled"
    LOST = "lost"


CommitOutcome = Literal["committed", "canceled", "lost"]
RerouteOutcome = Literal["rerouted", "unserved", "lost"]
