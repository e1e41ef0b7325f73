"""An enlargement in the step engine: a row in which every unit of work is one tile.

Owns the row interface of an enlargement for the engine's loop, which schedules it like any other
row.
"""

from concurrent.futures import Future
from dataclasses import dataclass

from worker.engine.interface import EngineJob, EngineResult, EnlargeJob, OnEvent, TileDone
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.step.rows import Row, Unit
from worker.engine.upscale.enlarging import Enlarging
from worker.engine.upscale.loading import LoadedUpscaler


@dataclass(eq=False, kw_only=True)
class EnlargeRow(Row):
    """`network` completes when the enlarger is loaded; until then the row is not ready."""

    order: EnlargeJob
    network: "Future[LoadedUpscaler]"
    enlarging: Enlarging | None = None

    @property
    def is_ready(self) -> bool:
        return self.network.done()

    def check_ready(self) -> None:
        self.network.result()

    @property
    def steps_next(self) -> bool:
        """A tile counts as a step: rows that others wait for to be encoded or decoded go first."""
        return True

    @property
    def holds_network(self) -> bool:
        return self.network.done() and self.network.exception() is None

    def next_tile(self) -> None:
        """One unit of work; the last one stores the picture in `finished`."""
        if self.enlarging is None:
            order = self.order
            self.enlarging = Enlarging(order.pixels, order.factor, self.network.result())
        self.enlarging.step()
        self.finished = self.enlarging.result

    def tell_tile(self) -> None:
        """Reports the progress of the enlargement."""
        if self.enlarging is not None:
            self.tell(TileDone(self.enlarging.done, self.enlarging.total))

    def shrink(self) -> bool:
        """Continues with smaller tiles; False if they have the minimum size."""
        if self.enlarging is None or not self.enlarging.shrink():
            return False
        self.degrade("smaller_tiles")
        return True


def enlarge_row(
    order: EnlargeJob,
    on_event: OnEvent,
    future: "Future[EngineResult]",
    network: "Future[LoadedUpscaler]",
) -> EnlargeRow:
    """The row of an enlargement; it shares no unit of work with others."""
    nothing: Future[list[AdapterWeights]] = Future()
    nothing.set_result([])
    job = EngineJob(
        order.pixels, "", "", 1.0, 1, 1.0, 0, stop=order.stop, preview=False, deterministic=True
    )
    return EnlargeRow(
        job=job,
        pixels=order.pixels,
        on_event=on_event,
        future=future,
        adapters=nothing,
        urgency=order.urgency,
        unit=Unit.ENLARGE,
        order=order,
        network=network,
    )
