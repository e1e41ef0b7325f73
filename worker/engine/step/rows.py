"""One picture in the step engine.

Owns a row's state between units of work. Does not know how the units are done.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Any

import torch

from shared.jobs import Stage
from worker.engine.base.tile_size import SIDE_MULTIPLE
from worker.engine.colours import with_colours
from worker.engine.fidelity import needs_reconstruction
from worker.engine.interface import (
    EngineEvent,
    EngineJob,
    EngineResult,
    OnEvent,
    Pixels,
    StageStarted,
    Urgency,
)
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.merging import AdapterSet
from worker.engine.pixels import in_colours_of, to_pixels
from worker.engine.step.draws import StepNoise
from worker.engine.step.evaluations import Evaluation
from worker.engine.step.prompts import Condition
from worker.engine.step.schedule import StepPlan


class Unit(IntEnum):
    """What a row needs next, in the order of its life; an enlargement is a separate kind of row."""

    ENCODE = auto()
    STEP = auto()
    DECODE = auto()
    ENLARGE = auto()


_STAGES = {
    Unit.ENCODE: (Stage.LOADING, Stage.ENCODING),
    Unit.STEP: (Stage.DENOISING,),
    Unit.DECODE: (Stage.DECODING,),
}


@dataclass(eq=False)
class Row:
    """A job, or a job's preview, in the engine. Latents are [1, C, h, w].

    `adapters` completes when the LoRA files are loaded; until then the row is not ready. A job's
    preview shares the job's adapters and does not own them. `reported` and `steps_reported` are
    what its owner has been told, `max_batch` is the largest batch that fitted in memory, once
    known. `calls` are the UNet's calls of every step. `is_among_its_like` is whether all stepping
    rows have the same LoRAs when this row is encoded.
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
    reported: Unit | None = None
    step: int = 0
    steps_reported: int = 0
    max_batch: int | None = None
    plan: StepPlan | None = None
    source: torch.Tensor | None = None
    padded: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    previous: torch.Tensor | None = None
    step_noise: StepNoise | None = None
    condition: Condition | None = None
    calls: tuple[Evaluation, ...] = ()
    finished: Pixels | None = None
    pooled: bool = False
    slot_keys: tuple[str, ...] = ()
    is_among_its_like: bool = False
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
        return tuple((entry.weights_id, scale) for entry, scale in self.job.loras)

    @property
    def encoder_set(self) -> AdapterSet:
        """The part of the LoRAs that changes how the picture is encoded."""
        if not self.adapter_set or not self.adapters.done() or self.adapters.exception():
            return ()
        pairs = zip(self.adapter_set, self.adapters.result(), strict=True)
        return tuple(one for one, weights in pairs if weights.of_encoder is not None)

    @property
    def bucket(self) -> tuple[Any, ...]:
        """What rows must have in common to share a unit: the kind of work, the size, the largest
        batch that fits, and for a step in merged mode the LoRAs.

        Rows whose LoRAs are in LoRA slots, or that have none, share steps whatever the LoRA. A
        deterministic row is alone: sums in a larger batch are added in another order.
        """
        if self.job.deterministic:
            return (self.unit, id(self))
        cells = tuple(-(-side // SIDE_MULTIPLE) for side in self.pixels.shape[:2])
        common = (self.unit, cells, self.max_batch)
        if self.unit is Unit.ENCODE:
            return (*common, needs_reconstruction(self.job.fidelity), self.encoder_set)
        if self.unit is Unit.DECODE or self.pooled or not self.adapter_set:
            return common
        return (*common, self.adapter_set)

    def check_ready(self) -> None:
        """Raises the error if something that the row needs could not be loaded."""
        self.adapters.result()

    def most_together(self, limit: int) -> int:
        """How many rows may share a step, including this one, if the engine allows `limit`."""
        return limit if self.max_batch is None else min(limit, self.max_batch)

    def encoded(self, latents: torch.Tensor) -> None:
        """The picture is encoded as latents, and can step."""
        self.latents = latents
        self.unit = Unit.STEP

    def stepped(self, latents: torch.Tensor, data: torch.Tensor) -> None:
        """A step is done; the next one may need its prediction of the data."""
        self.latents, self.previous = latents, data
        self.step += 1
        if self.step == self.total_steps:
            self.unit = Unit.DECODE

    def pictured(self, tensor: torch.Tensor) -> Any:
        """What is kept of decoded pixels, [1, 3, H, W] in -1..1."""
        return self.coloured(to_pixels(tensor))

    def coloured(self, made: Pixels) -> Pixels:
        """The whole picture in its photo's colours, if the job asks for that."""
        return in_colours_of(self.pixels, with_colours(self.job.fidelity, self.pixels, made))

    def developed(self, picture: Any) -> None:
        """The picture is finished."""
        self.finished = picture

    def reports(self, unit: Unit) -> bool:
        """Whether the start of this unit has to be reported."""
        return self.reported is None or self.reported < unit

    def tell_stage(self, unit: Unit) -> None:
        """Reports to the row's owner that a unit begins, once."""
        if self.reports(unit):
            self.reported = unit
            for stage in _STAGES.get(unit, ()):
                self.tell(StageStarted(stage))

    def tell(self, event: EngineEvent) -> None:
        """Sends an event to the row's owner, if it wants events."""
        if self.on_event is not None:
            self.on_event(event)

    def degrade(self, *codes: str) -> None:
        """Records what was given up for this row."""
        self.degraded += [code for code in codes if code not in self.degraded]

    def fit_among(self, count: int) -> None:
        """Limits the batch of this row to this many rows, including itself."""
        self.max_batch = count
        self.degrade("smaller_batch")

    def restart(self, pixels: Pixels) -> None:
        """Starts again with other pixels. Earlier reports stay valid: progress never decreases."""
        self.pixels, self.unit, self.step = pixels, Unit.ENCODE, 0
        self.latents = self.previous = None

    def spend(self, part: str, seconds: float) -> None:
        """Adds time to a part of the work."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds
