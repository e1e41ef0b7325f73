"""The service's answers as small frozen records: jobs, events, LoRAs, workers.

Owns the client's parsing. Fields unknown to this version are ignored, so that an older client still
works with a newer service.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from retouch.job_fields import PICTURE_FORMATS, PictureFormat

State = Literal["queued", "running", "succeeded", "failed", "canceled"]
TERMINAL_STATES: tuple[State, ...] = ("succeeded", "failed", "canceled")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Progress(_Record):
    """The progress of a job. `percent` never decreases and is 100 only when the picture is
    available.
    """

    percent: float = 0.0
    stage: str | None = None
    step: int = 0
    total_steps: int = 0
    eta_seconds: float | None = None
    message: str | None = None


class Queue(_Record):
    """The position of a waiting job: jobs ahead of it, and waiting jobs in total."""

    position: int = 0
    size: int = 0


class LoraUse(_Record):
    """One LoRA of a job, with its scale."""

    name: str
    scale: float = 1.0


class Params(_Record):
    """The parameters that a job really runs with, including the random seed and the chosen
    LoRAs.
    """

    loras: list[LoraUse] = []
    lora_reason: str | None = None
    strength: float | None = None
    steps: int | None = None
    sampler: str | None = None
    sampler_reason: str | None = None
    seed: int | None = None
    format: str = "png"
    upscale: int | str = 1
    upscale_reason: str | None = None


class Notice(_Record):
    """A notice that is not an error: what was changed about a photo, or given up."""

    code: str
    message: str = ""


class Source(_Record):
    """The photo as the service has accepted it: size in pixels, upright."""

    width: int
    height: int
    format: str | None = None
    warnings: list[Notice] = []


class Safety(_Record):
    """What the service's guards suspect of a picture; `warnings` say it in words."""

    nsfw: float | None = None
    flags: list[str] = []
    warnings: list[Notice] = []


class Result(_Record):
    """A finished picture: size in pixels and bytes, and the checksum of its bytes."""

    width: int
    height: int
    format: str
    size_bytes: int
    sha256: str
    upscale: int = 1
    upscaler: str | None = None
    safety: Safety = Safety()


class Job(_Record):
    """A job as the service last described it."""

    id: str
    state: State
    stage: str | None = None
    progress: Progress = Progress()
    queue: Queue | None = None
    attempt: int = 0
    base: str | None = None
    worker: str | None = None
    params: Params = Params()
    degraded: list[Notice] = []
    source: Source | None = None
    result: Result | None = None
    timings: dict[str, float] = {}
    error: dict[str, Any] | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def picture_format(self) -> PictureFormat:
        """The format of the finished picture."""
        named = self.result.format if self.result else self.params.format
        return named if named in PICTURE_FORMATS else "png"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.state in TERMINAL_STATES


class Event(_Record):
    """One event of a job. `id` resumes the stream after it."""

    id: str
    kind: Literal["state", "progress", "preview", "result", "error"]
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether no event follows: a result, an error, or a cancellation."""
        if self.kind in ("result", "error"):
            return True
        return self.kind == "state" and self.data.get("state") == "canceled"

    @property
    def progress(self) -> Progress | None:
        """The progress in this event, if it has any."""
        if self.kind == "progress":
            return Progress.model_validate(self.data)
        nested = self.data.get("progress")
        return Progress.model_validate(nested) if isinstance(nested, dict) else None


class Lora(_Record):
    """One LoRA of the service, and whether it may be used."""

    name: str
    title: str | dict[str, str] | None = None
    base: str = "unknown"
    bases: list[str] = []
    served_by: list[str] = []
    state: str
    reason: str | None = None
    default_scale: float = 1.0
    sampler: str | None = None
    guidance_scale: float | None = None
    few_steps: str | None = None
    complaints: list[str] = []
    trigger_words: list[str] = []
    rank: int | None = None
    size_bytes: int = 0
    sha256: str = ""


class Upscaler(_Record):
    """One enlarger of the service, and whether it may be used."""

    name: str
    title: str | None = None
    kind: str = "unknown"
    factors: list[int] = []
    state: str
    reason: str | None = None
    size_bytes: int = 0
    sha256: str = ""
    licence: str | None = None


class Worker(_Record):
    """One worker process with a recent heartbeat."""

    id: str
    host: str
    pid: int
    device: str
    base: str
    profile: str = ""
    in_flight: int = 0
    last_heartbeat_at: datetime | None = None
