"""The contract of an engine. Code outside worker/engine/ knows only this.

An engine owns one device. It receives pixels and settled parameters, and reports progress through
events. It knows nothing of the ledger, of Celery or of files.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.errors import JobCanceled, LeaseLost
from shared.jobs import Stage
from shared.loras.entry import LoraEntry
from shared.params import DEFAULT_SAMPLER, DEFAULT_TIMESTEP, Fidelity, Sampler, executed_steps
from shared.upscalers.entry import UpscalerEntry
from worker.engine.base.device_lost import DeviceLost

Pixels = npt.NDArray[np.uint8]
"""A picture: height x width x 3, RGB, 8 bit."""


class Urgency(IntEnum):
    """Priority on the device. Lower goes first; waiting time counts too."""

    PREVIEW = 0
    INTERACTIVE = 1
    BATCH = 2


class StopFlag:
    """Tells a running job to stop; the engine checks it before every step."""

    def __init__(self) -> None:
        self._reason: BaseException | None = None
        self._deadline: tuple[float, BaseException] | None = None
        self._lock = threading.Lock()

    def stop(self, reason: BaseException) -> None:
        """Asks the job to stop; the first reason counts."""
        with self._lock:
            self._reason = self._reason or reason

    def cancel(self) -> None:
        self.stop(JobCanceled())

    def lose(self) -> None:
        self.stop(LeaseLost())

    def stop_after(self, seconds: float, reason: BaseException) -> None:
        """Asks the job to stop in `seconds` from now, unless there is a reason earlier."""
        self._deadline = (time.monotonic() + seconds, reason)

    def check(self) -> None:
        """Raises the reason to stop, if there is one."""
        if self._deadline is not None and time.monotonic() > self._deadline[0]:
            self.stop(self._deadline[1])
        if self._reason is not None:
            raise self._reason


@dataclass(frozen=True)
class EngineJob:
    """One picture to make. `pixels` already has the size of the result.

    A `deterministic` one is computed in the same way whatever else the engine does: equal bits on
    one device.
    `trailing` spaces the timesteps as few-step models are distilled; `timestep` is the network's
    input with the sampler `once`, and `predicts_difference` says that its output is the difference
    to the restored latents. `pixel_scale` and `semantic_scale` weigh the parts of a LoRA with two.
    """

    pixels: Pixels
    prompt: str
    negative_prompt: str
    strength: float
    steps: int
    guidance_scale: float
    seed: int
    loras: tuple[tuple[LoraEntry, float], ...] = ()
    fidelity: Fidelity = "none"
    sampler: Sampler = DEFAULT_SAMPLER
    trailing: bool = False
    timestep: int = DEFAULT_TIMESTEP
    predicts_difference: bool = False
    pixel_scale: float = 1.0
    semantic_scale: float = 1.0
    preview: bool = True
    urgency: Urgency = Urgency.INTERACTIVE
    deterministic: bool = False
    stop: StopFlag = field(default_factory=StopFlag)

    @property
    def executed_steps(self) -> int:
        """The number of executed denoising steps."""
        return 1 if self.sampler == "once" else executed_steps(self.steps, self.strength)


@dataclass(frozen=True)
class EnlargeJob:
    """One picture to enlarge `factor` times, by a network of the catalogue."""

    pixels: Pixels
    factor: int
    upscaler: UpscalerEntry
    urgency: Urgency = Urgency.INTERACTIVE
    stop: StopFlag = field(default_factory=StopFlag)


@dataclass(frozen=True)
class StageStarted:
    """The job has entered a stage."""

    stage: Stage


@dataclass(frozen=True)
class StepDone:
    """One denoising step has been executed, of `total`."""

    step: int
    total: int


@dataclass(frozen=True)
class TileDone:
    """One tile of an enlargement is done, of `total`."""

    tile: int
    total: int


@dataclass(frozen=True)
class PartDone:
    """This many equal parts of a stage are done, of `total`.

    Sent for a picture made of tiles, whose stages overlap.
    """

    stage: Stage
    done: int
    total: int


@dataclass(frozen=True)
class PreviewReady:
    """A small first result."""

    pixels: Pixels


EngineEvent = StageStarted | StepDone | TileDone | PartDone | PreviewReady
OnEvent = Callable[[EngineEvent], None]


@dataclass(frozen=True)
class EngineResult:
    """A finished picture, what was given up for it (codes), seconds by part, and what computed each
    part of the base (`torch`, or the compiler of a built engine; both if steps differed).
    """

    pixels: Pixels
    degraded: tuple[str, ...]
    seconds: dict[str, float]
    ran_by: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """One device and the work on it. Safe to call from any thread. `rows` is how many pictures of a
    usual size it may compute together, `small_rows` how many small ones. `fingerprint` identifies
    the base's weights, before any LoRA.
    """

    base: str
    fingerprint: str
    device: str
    profile: str
    rows: int
    small_rows: int

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        """Queues a job. `on_event` is called from the engine's thread and must return at once.

        The future fails with a RetouchError, or with the StopFlag's reason.
        """

    def enlarge(self, job: EnlargeJob, on_event: OnEvent) -> "Future[EngineResult]":
        """Queues an enlargement, like `submit`: the same order, events and failures."""

    def residency(self) -> dict[str, Any]:
        """What is loaded where, for people to read."""

    def loaded_loras(self) -> list[str]:
        """The LoRAs that a job would not have to wait for, by SHA-256."""

    def complaint(self) -> DeviceLost | None:
        """Why this engine can no longer make good pictures, so that its process has to end."""

    def close(self) -> None:
        """Ends the engine's thread after the queued jobs; later ones fail with LeaseLost."""
