"""Different LoRAs in one batch: every targeted layer has a pool of LoRA slots, selected by a gate.

The pool of a layer is `down` [R, in] and `up` [out, R]. An adapter of rank r owns a slot range, r
slots in every layer that it changes. One gate [evaluations, R] serves all layers:

    y = W x + ((x down^T) * gate) up^T

A convolution's pool is `down` [R, in, k, k] and `up` [out, R, 1, 1], with the layer's own stride
and padding. A convolution with few inputs (the first one) carries any change, as a pair of the
rank of its inputs, and a change of its bias. Shapes are static, several adapters may act on one
row, scales may change freely, and loading an adapter is a copy into its slots. Owns slot ranges and
gate. Supports low-rank changes of the UNet; what a LoRA changes in the text encoders is merged
while a prompt is encoded, and other kinds are merged into the weights
(worker/engine/lora/merging.py). Belongs to the engine's thread.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch.nn import functional

from worker.engine.lora.changes import Change, LowRank
from worker.engine.lora.int8 import from_int8, plain_dtype, plain_weight
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.merging import AdapterSet, LayerName
from worker.engine.lora.residency import Switches

# Costs 4.5 % of SD 1.5's arithmetic and 51 MB in half precision.
SLOTS = 128
# A convolution with at most this many inputs, kernel included, may be changed in any way.
FEW_INPUTS = 36
_BIAS = ".bias"
Pristine = Callable[[LayerName], torch.Tensor | None]


@dataclass
class _SlotRange:
    name: str
    start: int
    rank: int
    layers: tuple[str, ...]
    pins: int = 0


def _none_merged(_name: LayerName) -> None:
    """No layer's own weight is kept elsewhere."""


class SlotPool:
    """The LoRA slots of one UNet. Calls of `hold` and `release` come in pairs. `pristine` returns a
    layer's own weight while LoRAs are merged.
    """

    def __init__(
        self, unet: torch.nn.Module, slots: int = SLOTS, pristine: Pristine = _none_merged
    ) -> None:
        self._unet = unet
        self._pristine = pristine
        self._slots = slots
        self._layers: dict[str, _Pooled] = {}
        self._ranges: OrderedDict[str, _SlotRange] = OrderedDict()
        self._gate = _Gate()
        self.switches = Switches()

    @property
    def names(self) -> list[str]:
        """The adapters that own slots, least recently used first."""
        # A copy first: other threads call this while the engine adds and removes entries.
        return [slot_range.name for slot_range in tuple(self._ranges.values())]

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in tuple(self._layers.values()))

    def can_carry(self, adapters: Sequence[AdapterWeights]) -> bool:
        """Whether all changes of the UNet have slots' form, and fit side by side."""
        layers = [item for one in adapters for item in _unet_changes(one).items()]
        if not all(self._has_form(name, change) for name, change in layers):
            return False
        return sum(map(self._rank, adapters)) <= self._slots

    def hold(self, key: str, weights: AdapterWeights) -> bool:
        """Gives an adapter slots until `release`; False if there is no room."""
        slot_range = self._ranges.get(key)
        if slot_range is None:
            with self.switches.timed():
                slot_range = self._place(key, weights)
        if slot_range is None:
            return False
        slot_range.pins += 1
        self._ranges.move_to_end(key)
        return True

    def release(self, key: str) -> None:
        """Ends one `hold`; the slots may then be given to another adapter."""
        self._ranges[key].pins -= 1

    def drop_unused(self) -> None:
        """Takes the slots from all adapters without a hold."""
        for key in [key for key, slot_range in self._ranges.items() if slot_range.pins == 0]:
            self._forget(key)

    def gate(self, sets: Sequence[AdapterSet], like: torch.Tensor) -> torch.Tensor | None:
        """The LoRAs and scales of every evaluation of a UNet call; None if there are none."""
        if not any(sets):
            return None
        gate = torch.zeros(len(sets), self._slots, device=like.device, dtype=like.dtype)
        for index, adapters in enumerate(sets):
            for key, scale in adapters:
                slot_range = self._ranges[key]
                gate[index, slot_range.start : slot_range.start + slot_range.rank] += scale
        return gate

    def open(self, gate: torch.Tensor | None) -> None:
        """Sets the gate of the next UNet call; with None the base runs alone, bit for bit."""
        self._gate.value = gate
        self._gate.slots = _in_use(gate)

    @property
    def is_open(self) -> bool:
        """Whether LoRAs in slots act on the UNet call in progress."""
        return self._gate.value is not None

    @property
    def layer_count(self) -> int:
        """The number of layers and biases with slots; it grows when an adapter changes one that
        had none.
        """
        return len(self._layers) + sum(layer.has_shift for layer in self._layers.values())

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Restores the gate after the block."""
        gate = self._gate.value
        try:
            yield
        finally:
            self.open(gate)

    def _place(self, key: str, weights: AdapterWeights) -> _SlotRange | None:
        rank = self._rank(weights)
        start = self._room(rank)
        if start is None:
            return None
        changes = _unet_changes(weights)
        layers = tuple(dict.fromkeys(name.removesuffix(_BIAS) for name in changes))
        slot_range = self._ranges[key] = _SlotRange(weights.name, start, rank, layers)
        try:
            for name, change in changes.items():
                self._write(start, name, change)
        except BaseException:
            self._forget(key)  # half an adapter would act on the next owner of these slots
            raise
        return slot_range

    def _write(self, start: int, name: str, change: Change) -> None:
        layer = self._layer(name.removesuffix(_BIAS))
        if name.endswith(_BIAS):
            layer.shift(start, change.delta(self._own(name)))
        else:
            pair = change if isinstance(change, LowRank) else _as_pair(change, self._own(name))
            layer.write(start, pair.down, pair.up * pair.scale)

    def _own(self, name: str) -> torch.Tensor:
        """The base's own weight or bias, also while another one is in its place."""
        kept = self._pristine(("unet", name))
        if name.endswith(_BIAS):
            return self._unet.get_parameter(name).data if kept is None else kept
        layer = self._unet.get_submodule(name)
        if kept is None:
            return plain_weight(layer)
        is_int8 = kept.dtype == torch.int8
        return from_int8(layer, kept, plain_dtype(layer)) if is_int8 else kept

    def _has_form(self, name: str, change: Change) -> bool:
        return isinstance(change, LowRank) or self._inputs(name) <= FEW_INPUTS

    def _inputs(self, name: str) -> int:
        layer: Any = self._unet.get_submodule(name.removesuffix(_BIAS))
        inputs: int = prod(layer.weight.shape[1:])
        return inputs if isinstance(layer, torch.nn.Conv2d) else FEW_INPUTS + 1

    def _rank(self, weights: AdapterWeights) -> int:
        """The number of slots that an adapter needs: its largest rank."""
        ranks = (
            change.rank if isinstance(change, LowRank) else self._inputs(name)
            for name, change in _unet_changes(weights).items()
        )
        return max(ranks, default=0)

    def _room(self, rank: int) -> int | None:
        """The start of `rank` free slots; adapters without a hold are evicted, oldest first."""
        while (start := self._gap(rank)) is None:
            victim = next(
                (key for key, slot_range in self._ranges.items() if slot_range.pins == 0), None
            )
            if victim is None:
                return None
            self._forget(victim)
        return start

    def _gap(self, rank: int) -> int | None:
        start = 0
        for slot_range in sorted(self._ranges.values(), key=lambda slot_range: slot_range.start):
            if slot_range.start - start >= rank:
                return start
            start = slot_range.start + slot_range.rank
        return start if self._slots - start >= rank else None

    def _forget(self, key: str) -> None:
        slot_range = self._ranges.pop(key)
        for layer in slot_range.layers:
            if layer in self._layers:
                self._layers[layer].clear(slot_range.start, slot_range.rank)

    def _layer(self, name: str) -> "_Pooled":
        if name not in self._layers:
            layer: Any = self._unet.get_submodule(name)
            kind = _PooledConvolution if layer.weight.dim() == 4 else _PooledLinear
            self._layers[name] = kind(layer, self._slots, self._gate)
        return self._layers[name]


@dataclass
class _Gate:
    """The gate that all layers share; None when no row has a LoRA. `slots` are those in use."""

    value: torch.Tensor | None = None
    slots: slice = field(default_factory=lambda: slice(None))


class _Pooled:
    """A layer whose forward pass adds what its LoRA slots contribute."""

    def __init__(self, layer: Any, slots: int, gate: _Gate) -> None:
        weight, dtype = layer.weight, plain_dtype(layer)
        self._layer = layer
        self._own_forward = type(layer).forward
        self._gate = gate
        ones = [1] * (weight.dim() - 2)
        self._down = weight.new_zeros(slots, *weight.shape[1:], dtype=dtype)
        self._up = weight.new_zeros(weight.shape[0], slots, *ones, dtype=dtype)
        self._shift: torch.Tensor | None = None
        # The instance attribute hides the class's forward method; names and weights stay unchanged.
        setattr(layer, "forward", self._forward)  # noqa: B010

    @property
    def size_bytes(self) -> int:
        shift = 0 if self._shift is None else self._shift.nbytes
        return int(self._down.nbytes + self._up.nbytes + shift)

    @property
    def has_shift(self) -> bool:
        """Whether a LoRA has changed the layer's bias."""
        return self._shift is not None

    def write(self, start: int, down: torch.Tensor, up: torch.Tensor) -> None:
        rank = down.shape[0]
        slots = slice(start, start + rank)
        self._down[slots].copy_(down.reshape(rank, *self._down.shape[1:]))
        self._up[:, slots].copy_(up.reshape(-1, rank, *self._up.shape[2:]))

    def shift(self, start: int, change: torch.Tensor) -> None:
        """Adds a change of the bias to an adapter whose slots begin at `start`."""
        if self._shift is None:
            self._shift = self._up.new_zeros(self._up.shape[1], self._up.shape[0])
        self._shift[start].copy_(change)

    def clear(self, start: int, rank: int) -> None:
        if self._shift is not None:
            self._shift[start : start + rank].zero_()
        self._down[start : start + rank].zero_()
        self._up[:, start : start + rank].zero_()

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self._changed(x)
        if self._shift is None or self._gate.value is None:
            return y
        shift = (self._gate.value @ self._shift).to(y.dtype)
        return y + shift[:, :, None, None]

    def _changed(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class _PooledLinear(_Pooled):
    def _changed(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self._own_forward(self._layer, x)
        gate, slots = self._gate.value, self._gate.slots
        if gate is None:
            return y
        opened = gate[:, slots]
        if x.shape[0] != gate.shape[0]:
            # Attention may fold rows and heads together before a layer; the order of rows is kept.
            opened = opened.repeat_interleave(x.shape[0] // gate.shape[0], dim=0)
        hidden = functional.linear(x, self._down[slots]) * opened.view(
            opened.shape[0], *([1] * (x.dim() - 2)), -1
        )
        up = self._up[:, slots]
        if y.dtype == hidden.dtype == up.dtype:
            # One kernel instead of two; a step of SDXL has hundreds of such layers.
            y.view(-1, y.shape[-1]).addmm_(hidden.view(-1, hidden.shape[-1]), up.t())
            return y
        return y + functional.linear(hidden, up)


class _PooledConvolution(_Pooled):
    def _changed(self, x: torch.Tensor) -> torch.Tensor:
        layer = self._layer
        y: torch.Tensor = self._own_forward(layer, x)
        gate, slots = self._gate.value, self._gate.slots
        if gate is None:
            return y
        hidden = layer._conv_forward(x, self._down[slots], None)
        hidden = hidden * gate[:, slots, None, None]
        return y + functional.conv2d(hidden, self._up[:, slots])


def _in_use(gate: torch.Tensor | None) -> slice:
    """From the first used slot to the last: a CPU need not compute the others."""
    if gate is None or gate.device.type != "cpu":
        return slice(None)
    used = gate.any(dim=0).nonzero().flatten().tolist()
    return slice(used[0], used[-1] + 1) if used else slice(0, 1)


def _as_pair(change: Change, own: torch.Tensor) -> LowRank:
    """Any change of a layer with few inputs, exactly."""
    delta = change.delta(own)
    inputs = prod(delta.shape[1:])
    down = torch.eye(inputs, dtype=delta.dtype, device=delta.device)
    ones = [1] * (delta.dim() - 2)
    return LowRank(down.view(inputs, *delta.shape[1:]), delta.reshape(-1, inputs, *ones), 1.0)


def _unet_changes(weights: AdapterWeights) -> Mapping[str, Change]:
    return weights.parts.get("unet", {})
