"""The UNet's kernels recorded once and replayed, where launching them costs more than running them.

One recording per shape and number of evaluations (1, 2, 4, 8, 16; what is fewer is filled up with
what stood there before), made when the shape has been seen often enough to be worth it. Owns
buffers and recordings; the least recently used go. How a recording is made is handed in, so that
all of it but CUDA's own call runs in tests. Belongs to the engine's thread.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import structlog
import torch

from worker.engine.base.batch_sizes import BATCH_SIZES, padded

logger = structlog.get_logger(__name__)

# A recording costs three calls: two jobs of four steps come first, and an odd size never pays.
CALLS_BEFORE = 8
NEVER = -(2**62)
# Of pictures of a dozen shapes, with and without LoRAs.
MOST = 48

Inputs = Mapping[str, torch.Tensor]
Call = Callable[[Inputs], torch.Tensor]
Record = Callable[[Callable[[], torch.Tensor]], tuple[Callable[[], None], torch.Tensor]]
"""Runs a function and returns how to run it again, and the tensor that then has its result."""


@dataclass(frozen=True)
class _Recording:
    inputs: dict[str, torch.Tensor]
    replay: Callable[[], None]
    output: torch.Tensor


class Graphs:
    """Recordings of one function of tensors, each [evaluations, ...]."""

    def __init__(self, call: Call, record: Record) -> None:
        self._call = call
        self._record = record
        self._seen: Counter[Hashable] = Counter()
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recordings)

    def run(self, variant: Hashable, inputs: Inputs) -> torch.Tensor:
        """What `call` makes of the inputs. `variant` names everything else that it depends on."""
        count = next(iter(inputs.values())).shape[0]
        size = next((size for size in BATCH_SIZES if size >= count), None)
        if size is None:
            return self._call(inputs)
        shapes = tuple((name, tuple(x.shape[1:]), x.dtype) for name, x in inputs.items())
        key = (variant, size, shapes)
        if key not in self._recordings:
            self._seen[key] += 1
            if self._seen[key] <= CALLS_BEFORE:
                return self._call(inputs)
            try:
                self._keep(key, self._recorded(inputs, size))
            except torch.OutOfMemoryError:
                # A recording keeps memory of its own; what does not fit twice may well fit once.
                logger.warning("not recorded for want of memory", evaluations=size)
                self._seen[key] = NEVER
                return self._call(inputs)
        self._recordings.move_to_end(key)
        recording = self._recordings[key]
        for name, tensor in inputs.items():
            recording.inputs[name][:count].copy_(tensor)
        recording.replay()
        return recording.output[:count].clone()

    def forget(self) -> int:
        """Drop all recordings and their memory; how many there were."""
        count = len(self._recordings)
        self._recordings.clear()
        return count

    def _keep(self, key: Hashable, recording: _Recording) -> None:
        self._recordings[key] = recording
        del self._seen[key]
        while len(self._recordings) > MOST:
            self._recordings.popitem(last=False)

    def _recorded(self, inputs: Inputs, size: int) -> _Recording:
        buffers = {name: padded(tensor, size) for name, tensor in inputs.items()}
        replay, output = self._record(lambda: self._call(buffers))
        return _Recording(buffers, replay, output)


def record_on_cuda() -> Record:
    """CUDA graphs that share one pool of memory (docs: torch.cuda.CUDAGraph)."""
    pool = torch.cuda.graph_pool_handle()

    def record(function: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose their kernels and workspaces before recording
                function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool):
                output = function()
        except Exception as error:
            # Leaving a capture that ran out of memory fails by itself, and hides why.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
        return graph.replay, output

    return record
