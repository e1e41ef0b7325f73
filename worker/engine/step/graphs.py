"""CUDA graphs of the UNet, captured once and replayed, for calls dominated by kernel launches.

There is one graph per shape and batch size (1, 2, 4, 8, 16; smaller batches are padded with stale
rows, whose results are discarded). It is captured when its shape has been seen often enough to pay
for that, and anew when compiled blocks have got code. Owns buffers and graphs; the least recently
used are dropped. The capture function is passed in, so that tests run everything except CUDA's own
call. Belongs to the engine's thread.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import structlog
import torch

from worker.engine.base.batch_sizes import BATCH_SIZES, padded
from worker.engine.built.use import Parts

logger = structlog.get_logger(__name__)

# A capture costs as much as three calls. After eight calls (two jobs of four steps) the shape is
# likely to recur; a rare shape never pays off.
CALLS_BEFORE = 8
NEVER = -(2**62)
# Enough for a dozen picture shapes, with and without LoRAs.
MOST = 48

Inputs = Mapping[str, torch.Tensor]
Call = Callable[[Inputs], torch.Tensor]
Capture = Callable[[Callable[[], torch.Tensor]], tuple[Callable[[], None], torch.Tensor]]
"""Runs a function; returns a call that replays it, and the tensor that holds the result then."""


@dataclass(frozen=True)
class _CapturedGraph:
    inputs: dict[str, torch.Tensor]
    replay: Callable[[], None]
    output: torch.Tensor
    run_by: frozenset[str]


class Graphs:
    """CUDA graphs of one function of tensors, each [evaluations, ...]."""

    def __init__(self, call: Call, capture: Capture, parts: Parts) -> None:
        self._call = call
        self._capture = capture
        self._parts = parts
        self._generation = parts.generation
        self._seen: Counter[Hashable] = Counter()
        self._captured: OrderedDict[Hashable, _CapturedGraph] = OrderedDict()

    def __len__(self) -> int:
        return len(self._captured)

    def run(self, variant: Hashable, inputs: Inputs) -> torch.Tensor:
        """The result of `call`. `variant` identifies everything else on which the result
        depends.
        """
        count = next(iter(inputs.values())).shape[0]
        size = next((size for size in BATCH_SIZES if size >= count), None)
        if size is None:
            return self._call(inputs)
        shapes = tuple((name, tuple(x.shape[1:]), x.dtype) for name, x in inputs.items())
        key = (variant, size, shapes)
        self._follow()
        if key not in self._captured:
            self._seen[key] += 1
            if self._seen[key] <= CALLS_BEFORE:
                return self._call(inputs)
            try:
                self._keep(key, self._capture_padded(inputs, size))
            except torch.OutOfMemoryError:
                # A graph has its own memory; without it the call may still fit.
                logger.warning("no memory for a CUDA graph", evaluations=size)
                self._seen[key] = NEVER
                return self._call(inputs)
            except RuntimeError as error:
                # What cannot be captured, such as a block's code, may still run.
                logger.warning("no CUDA graph", evaluations=size, reason=str(error)[:500])
                self._seen[key] = NEVER
                return self._call(inputs)
        self._captured.move_to_end(key)
        graph = self._captured[key]
        for name, tensor in inputs.items():
            graph.inputs[name][:count].copy_(tensor)
        graph.replay()
        self._parts.repeat(graph.run_by)
        return graph.output[:count].clone()

    def forget(self) -> int:
        """Drops all graphs and their memory; returns how many there were."""
        count = len(self._captured)
        self._captured.clear()
        return count

    def _follow(self) -> None:
        """Graphs contain the kernels that blocks had when they were captured."""
        if self._generation != self._parts.generation:
            self._generation = self._parts.generation
            self.forget()
            self._seen.clear()

    def _keep(self, key: Hashable, graph: _CapturedGraph) -> None:
        self._captured[key] = graph
        del self._seen[key]
        while len(self._captured) > MOST:
            self._captured.popitem(last=False)

    def _capture_padded(self, inputs: Inputs, size: int) -> _CapturedGraph:
        buffers = {name: padded(tensor, size) for name, tensor in inputs.items()}
        with self._parts.listening() as names:
            replay, output = self._capture(lambda: self._call(buffers))
        return _CapturedGraph(buffers, replay, output, frozenset(names))


def cuda_capture() -> Capture:
    """CUDA graphs that share one pool of memory (docs: torch.cuda.CUDAGraph)."""
    pool = torch.cuda.graph_pool_handle()

    def capture(function: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose their kernels and workspaces before the capture
                function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool):
                output = function()
        except Exception as error:
            # Leaving a failed capture raises an error of its own, which would hide the
            # out-of-memory error.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
        return graph.replay, output

    return capture
