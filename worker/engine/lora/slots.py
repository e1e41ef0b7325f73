"""Different LoRAs in one batch: every targeted layer holds a pool of columns, a gate picks.

A layer's pool is `down` [R, in] and `up` [out, R]; an adapter of rank r owns a span of r columns in
every layer it changes; one gate [evaluations, R] serves all layers:

    y = W x + ((x down^T) * gate) up^T

Shapes are static, several adapters may act on one row, scales are free to change, and a new adapter
is a copy into columns. Owns spans and gate. Linear layers of the UNet only: other LoRAs take the
merged way (worker/engine/lora/merging.py). Belongs to the engine's thread.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.merging import AdapterSet
from worker.engine.lora.residency import Switches

# Costs 4.5 % of SD 1.5's arithmetic and 51 MB in half precision.
COLUMNS = 128


@dataclass
class _Span:
    name: str
    start: int
    rank: int
    layers: tuple[str, ...]
    pins: int = 0


class ColumnPool:
    """The pools of one UNet. `hold` and `release` come in pairs."""

    def __init__(self, unet: torch.nn.Module, columns: int = COLUMNS) -> None:
        self._unet = unet
        self._columns = columns
        self._layers: dict[str, _PooledLinear] = {}
        self._spans: OrderedDict[str, _Span] = OrderedDict()
        self._gate = _Gate()
        self.switches = Switches()

    @property
    def names(self) -> list[str]:
        """What has columns, least recently used first."""
        return [span.name for span in self._spans.values()]

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self._layers.values())

    def can_carry(self, adapters: Sequence[AdapterWeights]) -> bool:
        """Whether all of these change linear layers of the UNet alone, and fit side by side."""
        ranks = [_rank(weights) for weights in adapters if _is_linear(weights)]
        return len(ranks) == len(adapters) and sum(ranks) <= self._columns

    def hold(self, key: str, weights: AdapterWeights) -> bool:
        """Give an adapter columns and keep them until `release`; False when there is no room."""
        span = self._spans.get(key)
        if span is None:
            with self.switches.timed():
                span = self._place(key, weights)
        if span is None:
            return False
        span.pins += 1
        self._spans.move_to_end(key)
        return True

    def release(self, key: str) -> None:
        """Give up one hold; the columns may be given to another adapter from now on."""
        self._spans[key].pins -= 1

    def drop_unused(self) -> None:
        """Take their columns from all that nobody holds."""
        for key in [key for key, span in self._spans.items() if span.pins == 0]:
            self._forget(key)

    def gate(self, sets: Sequence[AdapterSet], like: torch.Tensor) -> torch.Tensor | None:
        """The LoRAs and scales of every evaluation of a UNet call; None where there are none."""
        if not any(sets):
            return None
        gate = torch.zeros(len(sets), self._columns, device=like.device, dtype=like.dtype)
        for index, adapters in enumerate(sets):
            for key, scale in adapters:
                span = self._spans[key]
                gate[index, span.start : span.start + span.rank] += scale
        return gate

    def open(self, gate: torch.Tensor | None) -> None:
        """What the next UNet call goes by; with None it is the base alone, bit for bit."""
        self._gate.value = gate
        self._gate.columns = _in_use(gate)

    @property
    def layer_count(self) -> int:
        """How many layers have columns; it grows when an adapter changes others than before."""
        return len(self._layers)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Whatever is opened in the block, afterwards the gate is that of before."""
        gate = self._gate.value
        try:
            yield
        finally:
            self.open(gate)

    def _place(self, key: str, weights: AdapterWeights) -> _Span | None:
        rank = _rank(weights)
        start = self._room(rank)
        if start is None:
            return None
        pairs = weights.parts["unet"]
        span = self._spans[key] = _Span(weights.name, start, rank, tuple(pairs))
        try:
            for layer, pair in pairs.items():
                self._layer(layer).write(start, pair.down, pair.up * pair.scale)
        except BaseException:
            self._forget(key)  # half an adapter would act on whoever has these columns next
            raise
        return span

    def _room(self, rank: int) -> int | None:
        """The start of `rank` free columns, made by forgetting what nobody holds, oldest first."""
        while (start := self._gap(rank)) is None:
            victim = next((key for key, span in self._spans.items() if span.pins == 0), None)
            if victim is None:
                return None
            self._forget(victim)
        return start

    def _gap(self, rank: int) -> int | None:
        start = 0
        for span in sorted(self._spans.values(), key=lambda span: span.start):
            if span.start - start >= rank:
                return start
            start = span.start + span.rank
        return start if self._columns - start >= rank else None

    def _forget(self, key: str) -> None:
        span = self._spans.pop(key)
        for layer in span.layers:
            if layer in self._layers:
                self._layers[layer].clear(span.start, span.rank)

    def _layer(self, name: str) -> "_PooledLinear":
        if name not in self._layers:
            linear: Any = self._unet.get_submodule(name)
            self._layers[name] = _PooledLinear(linear, self._columns, self._gate)
        return self._layers[name]


@dataclass
class _Gate:
    """The one gate that all layers look at; None when no row has a LoRA. `columns` are in use."""

    value: torch.Tensor | None = None
    columns: slice = field(default_factory=lambda: slice(None))


class _PooledLinear:
    """A linear layer whose forward also goes through its columns."""

    def __init__(self, linear: torch.nn.Linear, columns: int, gate: _Gate) -> None:
        weight = linear.weight
        self._linear = linear
        self._gate = gate
        self._down = weight.new_zeros(columns, linear.in_features)
        self._up = weight.new_zeros(linear.out_features, columns)
        # The instance's attribute hides the class's forward; names and weights stay as they are.
        setattr(linear, "forward", self._forward)  # noqa: B010

    @property
    def size_bytes(self) -> int:
        return self._down.nbytes + self._up.nbytes

    def write(self, start: int, down: torch.Tensor, up: torch.Tensor) -> None:
        rank = down.shape[0]
        self._down[start : start + rank].copy_(down)
        self._up[:, start : start + rank].copy_(up)

    def clear(self, start: int, rank: int) -> None:
        self._down[start : start + rank].zero_()
        self._up[:, start : start + rank].zero_()

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(x, self._linear.weight, self._linear.bias)
        gate, columns = self._gate.value, self._gate.columns
        if gate is None:
            return y
        opened = gate[:, columns]
        if x.shape[0] != gate.shape[0]:
            # Attention may fold rows and heads together before a layer; rows stay in order.
            opened = opened.repeat_interleave(x.shape[0] // gate.shape[0], dim=0)
        hidden = functional.linear(x, self._down[columns]) * opened.view(
            opened.shape[0], *([1] * (x.dim() - 2)), -1
        )
        up = self._up[:, columns]
        if y.dtype == hidden.dtype == up.dtype:
            # One kernel instead of two; a step of SDXL has hundreds of such layers.
            y.view(-1, y.shape[-1]).addmm_(hidden.view(-1, hidden.shape[-1]), up.t())
            return y
        return y + functional.linear(hidden, up)


def _in_use(gate: torch.Tensor | None) -> slice:
    """From the first column in use to the last: a CPU need not compute the others."""
    if gate is None or gate.device.type != "cpu":
        return slice(None)
    used = gate.any(dim=0).nonzero().flatten().tolist()
    return slice(used[0], used[-1] + 1) if used else slice(0, 1)


def _rank(weights: AdapterWeights) -> int:
    """The columns that an adapter needs: its largest rank."""
    return max(pair.rank for pair in weights.parts["unet"].values())


def _is_linear(weights: AdapterWeights) -> bool:
    only_unet = set(weights.parts) == {"unet"}
    return only_unet and all(pair.is_linear for pair in weights.parts["unet"].values())
