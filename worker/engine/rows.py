"""One picture on its way through the step engine.

Owns a row's state between units of work. Knows nothing of how the units are done.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import torch

from worker.engine.interface import EngineEvent, EngineJob, EngineResult, Pixels, Urgency
from worker.engine.lora_file import AdapterWeights
from worker.engine.merging import AdapterSet
from worker.engine.prompts import Condition
from worker.engine.schedule import StepPlan

OnEvent = Callable[[EngineEvent], None]


class Unit(Enum):
    """What a row needs next."""

    ENCODE = auto()
    STEP = auto()
    DECODE = auto()


@dataclass(eq=False)
class Row:
    """A job, or a job's preview, in the engine. Latents are [1, C, h, w].

    `adapters` settles when the LoRA files are read; until then the row is not ready. A job's
    preview shares the job's adapters and does not own them.
    """

    job: EngineJob
    pixels: Pixels
    on_event: OnEvent | None
    future: "Future[EngineResult]"
    adapters: "Future[list[AdapterWeights]]"
    urgency: Urgency
    owns_adapters: bool = True
    arrived: int = 0
    unit: Unit = Unit.ENCODE
    told: Unit | None = None
    step: int = 0
    plan: StepPlan | None = None
    source: torch.Tensor | None = None
    padded: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    previous: torch.Tensor | None = None
    condition: Condition | None = None
    finished: Pixels | None = None
    pooled: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    ran_by: dict[str, set[str]] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        return self.adapters.done()

    @property
    def steps_next(self) -> bool:
        return self.unit is Unit.STEP

    @property
    def total_steps(self) -> int:
        return len(self.plan) if self.plan is not None else 0

    @property
    def adapter_set(self) -> AdapterSet:
        return tuple((entry.sha256, scale) for entry, scale in self.job.loras)

    @property
    def bucket(self) -> tuple[Any, ...]:
        """What rows must share to step together: the latents' shape and, in merged mode, the LoRAs.

        Rows whose LoRAs are in the column pool, or who have none, share steps whatever the LoRA.
        A deterministic row steps alone: sums in a larger batch are added in another order.
        """
        assert self.latents is not None
        if self.job.deterministic:
            return (tuple(self.latents.shape), id(self))
        free = self.pooled or not self.adapter_set
        return (tuple(self.latents.shape), None if free else self.adapter_set)

    def tell(self, event: EngineEvent) -> None:
        """Tell the row's owner, if it wants to know."""
        if self.on_event is not None:
            self.on_event(event)

    def degrade(self, codes: Sequence[str]) -> None:
        """Remember what was given up for this row."""
        self.degraded += [code for code in codes if code not in self.degraded]

    def restart(self, pixels: Pixels) -> None:
        """Begin anew with other pixels."""
        self.pixels, self.unit, self.step, self.told = pixels, Unit.ENCODE, 0, None
        self.latents = self.previous = None

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the block's time to `part`."""
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started
