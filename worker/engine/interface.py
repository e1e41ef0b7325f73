"""What an engine takes and gives. Everything outside worker/engine/ knows only this.

An engine owns one device. It is handed pixels and settled parameters, and tells through events how
far it is. It knows nothing of the ledger, of Celery or of files.
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
from shared.params import Fidelity
from shared.upscalers.entry import UpscalerEntry
from worker.engine.base.device_lost import DeviceLost

Pixels = npt.NDArray[np.uint8]
"""A picture: height x width x 3, RGB, 8 bit."""


class Urgency(IntEnum):
    """Who goes first where the device can do only one thing. Lower goes first; age counts too."""

    PREVIEW = 0
    INTERACTIVE = 1
    BATCH = 2


class StopFlag:
    """How the world outside tells a running job to stop; the engine looks before every step."""

    def __init__(self) -> None:
        self._reason: BaseException | None = None
        self._deadline: tuple[float, BaseException] | None = None
        self._lock = threading.Lock()

    def stop(self, reason: BaseException) -> None:
        """Ask to stop; the first reason counts."""
        with self._lock:
            self._reason = self._reason or reason

    def cancel(self) -> None:
        self.stop(JobCanceled())

    def lose(self) -> None:
        self.stop(LeaseLost())

    def stop_after(self, seconds: float, reason: BaseException) -> None:
        """Ask to stop when `seconds` from now have passed, unless there is a reason before."""
        self._deadline = (time.monotonic() + seconds, reason)

    def check(self) -> None:
        """Raises the reason to stop, if there is one."""
        if self._deadline is not None and time.monotonic() > self._deadline[0]:
            self.stop(self._deadline[1])
        if self._reason is not None:
            raise self._reason


@dataclass(frozen=True)
class EngineJob:
    """One picture to make. `pixels` already has the size that the result is to have.

    A `deterministic` one is computed alike whatever else the engine does: equal bits on one device.
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
    preview: bool = True
    urgency: Urgency = Urgency.INTERACTIVE
    deterministic: bool = False
    stop: StopFlag = field(default_factory=StopFlag)


@dataclass(frozen=True)
class EnlargeJob:
    """One picture to make `factor` times as large, by a network of the catalogue."""

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
    """So many equal parts of a stage are done, of `total`.

    Told of a picture that is made of tiles, whose stages overlap.
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
    """A finished picture, what was given up for it (codes), seconds by part, and what computed
    each part of the base (`torch`, or the compiler of a built one; both where steps differed).
    """

    pixels: Pixels
    degraded: tuple[str, ...]
    seconds: dict[str, float]
    ran_by: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """One device and what runs on it. Safe to call from any thread. `rows` is how many pictures of
    a usual size it may compute together, `small_rows` how many small ones.
    """

    base: str
    device: str
    profile: str
    rows: int
    small_rows: int

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        """Queue a job. `on_event` is called from the engine's thread and must return at once.

        The future fails with a RetouchError, or with the StopFlag's reason.
        """

    def enlarge(self, job: EnlargeJob, on_event: OnEvent) -> "Future[EngineResult]":
        """Queue an enlargement, as `submit` does a job: the same order, events and failures."""

    def residency(self) -> dict[str, Any]:
        """What is loaded where, for people to read."""

    def complaint(self) -> DeviceLost | None:
        """Why this engine can make no good picture any more, so that its process has to end."""

    def close(self) -> None:
        """End the engine's thread after the jobs in line; later ones fail with LeaseLost."""
