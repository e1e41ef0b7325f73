"""The job: what a client asked for, and what became of it.

Owns the records that cross processes. Knows nothing of Redis (shared/ledger/store.py keeps them),
of HTTP or of pipelines.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from shared.messages import Language
from shared.params import ImageFormat, JobParams
from shared.record import OpenEnum, Record

# What `JobSpec.needs` is compared with.
RECORDS_VERSION = 1


class JobState(OpenEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """A state that this version does not know may still change."""
        return self.is_known and self not in (JobState.QUEUED, JobState.RUNNING)


class Stage(OpenEnum):
    """Where a running job is, in this order."""

    LOADING = "loading"
    ENCODING = "encoding"
    DENOISING = "denoising"
    DECODING = "decoding"
    CHECKING = "checking"
    SAVING = "saving"


class EventKind(OpenEnum):
    """What an event on a job's stream tells."""

    STATE = "state"
    PROGRESS = "progress"
    PREVIEW = "preview"
    RESULT = "result"
    ERROR = "error"


class Progress(Record):
    """How far a running job is. `percent` is 100 only when the picture can be fetched."""

    stage: Stage | None = None
    percent: float = 0.0
    step: int = 0
    total_steps: int = 0
    eta_seconds: float | None = None


class Failure(Record):
    """Why a job failed: an error's code and sentence. Exceptions do not leave their process.

    `flags` are the guards' findings, `loras` the files that were used when there are such.
    """

    code: str
    message: str
    retryable: bool = False
    flags: list[str] = []
    loras: list[str] = []


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
    """What the output guards measured: a probability of unsafe content and named findings."""

    nsfw: float | None = None
    flags: list[str] = []


class Result(Record):
    """A finished picture: where its bytes are and what they are; by part of the base, what
    computed it (`torch`, `tensorrt`, both where steps differed). `upscaler` is what enlarged it,
    None where it was not enlarged.
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
    """What a photo says of itself that `metadata=keep` keeps. Never a place, never a serial."""

    taken_at: str | None = None
    offset: str | None = None
    author: str | None = None
    copyright: str | None = None
    dpi: tuple[float, float] | None = None


class Source(Record):
    """A normalised upload: upright sRGB without metadata, named by the sha256 of its bytes.

    `format` is what was sent, `has_alpha` whether parts of it are transparent, `warnings` codes of
    what was changed about it.
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


class DeliveryState(OpenEnum):
    """Where a webhook is in its life."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Delivery(Record):
    """What became of a finished job's webhook. `reason` is the code of the last try's failure."""

    state: DeliveryState
    attempts: int = 0
    reason: str | None = None


class JobSpec(Record):
    """What was asked for. Never changes after submission. `language` is its sender's.

    `needs` is the RECORDS_VERSION from which on a worker can do the job: a version that adds what
    must not be passed over raises its own, and gives that to the jobs that use it.
    """

    id: str
    client: str
    base: str
    source: Source
    params: JobParams
    language: Language = "en"
    needs: int = 1


class Event(Record):
    """One entry of a job's stream; `id` is the stream's own and orders events."""

    id: str
    kind: EventKind
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether the stream ends here: a result, an error, or a cancellation."""
        if self.kind in (EventKind.RESULT, EventKind.ERROR):
            return True
        return self.kind is EventKind.STATE and self.data.get("state") == JobState.CANCELED


class Claim(Record):
    """A worker's hold on a job: fenced by `epoch`, lost when the lease runs out."""

    spec: JobSpec
    worker: str
    epoch: int
    attempt: int
    percent: float
    queued_seconds: float

    @property
    def is_understood(self) -> bool:
        """Whether this version knows all that the job asks of a worker."""
        return self.spec.needs <= RECORDS_VERSION and not self.spec.params.strange


class Job(Record):
    """A job as the ledger has it now."""

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

    @property
    def id(self) -> str:
        return self.spec.id


class StepSignal(StrEnum):
    """What the ledger answers to a report from a running job."""

    GO_ON = "go_on"
    CANCELED = "canceled"
    LOST = "lost"


CommitOutcome = Literal["committed", "canceled", "lost"]
