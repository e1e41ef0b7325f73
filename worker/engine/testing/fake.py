"""An engine without a model, for tests of the fleet: realistic steps and durations, simple pixels.

Its picture depends only on source, seed and LoRAs, so that a checker can tell whether the served
bytes are correct.
"""

import hashlib
import time
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from shared.jobs import Stage
from worker.engine.base.device_lost import DeviceLost
from worker.engine.interface import (
    EngineJob,
    EngineResult,
    EnlargeJob,
    OnEvent,
    Pixels,
    PreviewReady,
    StageStarted,
    StepDone,
    TileDone,
)
from worker.engine.testing.faults import Faults
from worker.engine.thread import EngineThread, Order

FAKE_TILES = 2
SAMPLED_BYTES = 2**20


class FakeEngine:
    """Takes `step_seconds` for every step and turns the picture into a recognisable other one."""

    rows = small_rows = 1

    def __init__(
        self,
        base: str,
        step_seconds: float,
        device: str = "fake",
        faults: str = "",
        fingerprint: str = "",
        lora_seconds: float = 0.0,
        lora_slots: int = 8,
    ) -> None:
        self.base = base
        self.fingerprint = fingerprint
        self.device = device
        self.profile = "fake"
        self._step_seconds = step_seconds
        self._lora_seconds, self._lora_slots = lora_seconds, lora_slots
        self._loras: OrderedDict[str, None] = OrderedDict()
        self._hits = self._misses = 0
        self._faults = Faults(faults)
        self._thread = EngineThread(self._run)

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        return self._thread.submit(job, on_event)

    def enlarge(self, job: EnlargeJob, on_event: OnEvent) -> "Future[EngineResult]":
        return self._thread.submit(job, on_event)

    def residency(self) -> dict[str, Any]:
        loras = list(self._loras)
        return {"loras": loras, "hits": self._hits, "misses": self._misses}

    def loaded_loras(self) -> list[str]:
        return list(self._loras)

    def complaint(self) -> DeviceLost | None:
        return self._faults.complaint()

    def close(self) -> None:
        self._thread.close()

    def _run(self, job: Order, on_event: OnEvent) -> EngineResult:
        if isinstance(job, EnlargeJob):
            return self._enlarge(job, on_event)
        started = time.perf_counter()
        on_event(StageStarted(Stage.LOADING))
        self._load_loras(job)
        if job.preview:
            on_event(PreviewReady(job.pixels[::4, ::4].copy()))
        on_event(StageStarted(Stage.ENCODING))
        on_event(StageStarted(Stage.DENOISING))
        total = job.executed_steps
        for step in range(1, total + 1):
            job.stop.check()
            self._faults.step(job, step)
            time.sleep(self._step_seconds)
            self._faults.step_done(job, step)
            on_event(StepDone(step, total))
        job.stop.check()
        on_event(StageStarted(Stage.DECODING))
        seconds = {"denoising": time.perf_counter() - started}
        return EngineResult(fake_picture(job), (), seconds)

    def _load_loras(self, job: EngineJob) -> None:
        """Takes `lora_seconds` for each LoRA that is not loaded; the least recently used go."""
        for entry, _ in job.loras:
            if entry.sha256 in self._loras:
                self._hits += 1
            else:
                self._misses += 1
                time.sleep(self._lora_seconds)
            self._loras[entry.sha256] = None
            self._loras.move_to_end(entry.sha256)
            while len(self._loras) > self._lora_slots:
                self._loras.popitem(last=False)

    def _enlarge(self, job: EnlargeJob, on_event: OnEvent) -> EngineResult:
        for tile in range(1, FAKE_TILES + 1):
            job.stop.check()
            time.sleep(self._step_seconds)
            on_event(TileDone(tile, FAKE_TILES))
        seconds = {"enlarging": FAKE_TILES * self._step_seconds}
        return EngineResult(fake_enlarged(job.pixels, job.factor), (), seconds)


def fake_fingerprint(base_model: str) -> str:
    """Identifies the files of a checkpoint, whose weights this engine does not load."""
    digest = hashlib.sha256()
    for path in sorted(Path(base_model).rglob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()[:32]


def fake_enlarged(pixels: Pixels, factor: int) -> Pixels:
    """The fake engine's only correct result of an enlargement: every pixel becomes a square."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def fake_picture(job: EngineJob) -> Pixels:
    """The fake engine's only correct result of a job."""
    names = ",".join(f"{lora.sha256}:{scale}" for lora, scale in job.loras)
    digest = hashlib.sha256(f"{job.seed}|{names}|{job.strength}|{job.steps}".encode()).digest()
    shade = np.frombuffer(digest[:3], dtype=np.uint8)
    height, width, _ = job.pixels.shape
    # Whole rows at once, and in place: otherwise it would cost more than the rest of a job.
    tint = np.tile(shade >> 3, width)
    turned = ~job.pixels.reshape(height, -1)
    # Inverted, its lightest and darkest parts tinted, so that its file is as large as a photo's.
    np.minimum(turned, 255 - 2 * tint, out=turned)
    turned += tint
    return turned.reshape(height, width, 3)
