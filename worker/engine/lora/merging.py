"""Merged mode: a set of LoRAs written into the weights, and the original weights put back.

Owns which set is in place. The merged weights of a set are computed once from the originals, one
layer at a time, and kept as tensors beside them if there is room. Switching exchanges references,
or, for CUDA graphs that read the base's own memory, copies values there and back: nothing is ever
subtracted, and after `apply(())` the base is bit for bit what it was. Belongs to the engine's
thread.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from worker.engine.lora.changes import Change
from worker.engine.lora.int8 import plain_dtype, plain_weight
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.residency import Residency, Switches

AdapterSet = tuple[tuple[str, float], ...]
"""(sha256, scale) of each LoRA of a job, in a fixed order."""

LayerName = tuple[str, str]
"""A part of the pipeline and a layer's name in it, or its bias, as `LAYER.bias`."""

_BIAS = ".bias"

# In place while weights are exchanged, and after an exchange that was interrupted for want of
# memory: equal to no set that can be asked for.
_PARTLY: AdapterSet = (("partly", 0.0),)

# Merging SD 1.5's attention again takes half a second on a CPU; copying it into slots a few ms.
MANY = 8


@dataclass(frozen=True)
class MergedWeights:
    """Every weight that one set changes."""

    layers: dict[LayerName, torch.Tensor]
    names: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(weight.nbytes for weight in self.layers.values())


class WeightMerger:
    """Puts sets of LoRAs into a pipeline's weights.

    With `rewrites` they are copied into the base's own memory, as long as the copies of the base's
    weights take at most `limit_bytes`.
    """

    def __init__(self, pipeline: Any, limit_bytes: int, rewrites: bool = False) -> None:
        self._pipeline = pipeline
        self._limit_bytes = limit_bytes
        self._rewrites = rewrites
        self._own: dict[LayerName, torch.Tensor] = {}
        self._kept: dict[LayerName, torch.Tensor] = {}
        self._in_place: AdapterSet = ()
        self._is_rewritten = False
        self._pinned: AdapterSet = ()
        self._carried: Sequence[tuple[AdapterWeights, float]] = ()
        self._changed: tuple[LayerName, ...] = ()
        self.merged: Residency[MergedWeights] = Residency(limit_bytes)
        self.switches = Switches()

    @property
    def in_place(self) -> AdapterSet:
        """The set that is in the weights now."""
        return self._in_place

    @property
    def is_at_home(self) -> bool:
        """Whether every weight is at the address where it was loaded, whatever its value."""
        return not self._in_place or self._is_rewritten

    def keeps_many(self, adapters: Sequence[AdapterWeights]) -> bool:
        """Whether sets of this size are so small that many can stay merged at the same time."""
        size = sum(self._merged_bytes(weights) for weights in adapters)
        return size * MANY <= self._limit_bytes

    def _merged_bytes(self, weights: AdapterWeights) -> int:
        names = ((part, layer) for part, pairs in weights.parts.items() for layer in pairs)
        return sum(map(self._plain_bytes, names))

    def pristine(self, name: LayerName) -> torch.Tensor | None:
        """A layer's original weight, while another one is in its place."""
        if not self._in_place:
            return None
        return (self._kept if self._is_rewritten else self._own).get(name)

    def apply(self, wanted: AdapterSet, adapters: Sequence[tuple[AdapterWeights, float]]) -> None:
        """Makes the weights those of the base with exactly these LoRAs."""
        if wanted == self._in_place:
            return
        self._restore()
        if not wanted:
            return
        self._carried, self._in_place = adapters, _PARTLY
        try:
            with self.switches.timed():
                self._put(wanted, adapters)
        except BaseException:
            self._restore()
            raise
        self._in_place = wanted

    def _put(self, wanted: AdapterSet, adapters: Sequence[tuple[AdapterWeights, float]]) -> None:
        if self._size_of(adapters) > self._limit_bytes:
            self._exchange(adapters)
            return
        merged = self.merged.pin(wanted, lambda: self._merge(adapters))
        self._pinned = wanted
        self._is_rewritten = self._rewrites and self._keep(merged.layers)
        if self._is_rewritten:
            self._changed = tuple(merged.layers)
            self._write(merged.layers)
            return
        for name, weight in merged.layers.items():
            parameter = self._parameter(name)
            # The autoencoder may have moved since the set was merged.
            self._replace(name, parameter, weight.to(parameter.device), parameter.data)

    def _size_of(self, adapters: Sequence[tuple[AdapterWeights, float]]) -> int:
        return sum(map(self._plain_bytes, _changes_of(adapters)))

    def _plain_bytes(self, name: LayerName) -> int:
        """The size of a merged weight, which is never int8."""
        parameter = self._parameter(name)
        if parameter.dtype != torch.int8:
            return parameter.nbytes
        network: torch.nn.Module = getattr(self._pipeline, name[0])
        return parameter.numel() * plain_dtype(network.get_submodule(name[1])).itemsize

    def _exchange(self, adapters: Sequence[tuple[AdapterWeights, float]]) -> None:
        """A set too large to stand beside the base: layer by layer, the base's own weights make
        room for the merged ones and wait in main memory.
        """
        for name, changes in _changes_of(adapters).items():
            merged, parameter = self._changed_layer(name, changes), self._parameter(name)
            self._replace(name, parameter, merged, parameter.data.to("cpu"))

    def _replace(
        self,
        name: LayerName,
        parameter: torch.nn.Parameter,
        merged: torch.Tensor,
        own: torch.Tensor,
    ) -> None:
        """Puts a merged weight in place of the layer's own, which is kept until `_put_back`."""
        self._own[name] = own
        self._changed = (*self._changed, name)
        parameter.data = merged

    def _write(self, values: Mapping[LayerName, torch.Tensor]) -> None:
        """Into the memory that the layers read now: offloading may have moved them meanwhile."""
        # In a few kernels: copying hundreds of layers one by one would double the time.
        into = [self._parameter(name).data for name in values]
        torch._foreach_copy_(into, list(values.values()))

    def _keep(self, layers: Iterable[LayerName]) -> bool:
        """Copies the base's weights that are about to be overwritten; False if that would be too
        much.
        """
        new = [name for name in layers if name not in self._kept]
        if any(self._parameter(name).dtype == torch.int8 for name in new):
            return False
        size = sum(self._parameter(name).nbytes for name in [*self._kept, *new])
        if size > self._limit_bytes:
            return False
        copies = {name: self._parameter(name).data.clone() for name in new}
        self._kept |= copies
        return True

    def drop_unused(self) -> int:
        """Frees merged weights that are not in place, and the copies of the base's weights while
        the originals are in place; returns the number of bytes freed.
        """
        freed = self.merged.drop_unused()
        if not self._in_place:
            freed += sum(weight.nbytes for weight in self._kept.values())
            self._kept.clear()
        return freed

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Whatever is applied in the block, the previous weights are restored afterwards."""
        is_whole = self._in_place != _PARTLY
        wanted, adapters = (self._in_place, self._carried) if is_whole else ((), ())
        try:
            yield
        finally:
            self.apply(wanted, adapters)

    def _restore(self) -> None:
        """Puts the base's own weights in place. What is left undone for want of memory is done by
        the next call.
        """
        if self._in_place:
            self._in_place = _PARTLY
        if self._is_rewritten:
            self._write({name: self._kept[name] for name in self._changed})
        else:
            self._put_back()
        self._is_rewritten = False
        if self._pinned:
            self.merged.unpin(self._pinned)
        self._pinned, self._changed, self._in_place, self._carried = (), (), (), ()

    def _put_back(self) -> None:
        while self._changed:
            *others, name = self._changed
            parameter = self._parameter(name)
            parameter.data = self._own[name].to(parameter.device)
            del self._own[name]
            self._changed = tuple(others)

    def _merge(self, adapters: Sequence[tuple[AdapterWeights, float]]) -> MergedWeights:
        """While the base's own weights are in place. Only one layer at a time is in float32."""
        changes = _changes_of(adapters).items()
        merged = {name: self._changed_layer(name, own) for name, own in changes}
        return MergedWeights(merged, tuple(weights.name for weights, _ in adapters))

    def _changed_layer(
        self, name: LayerName, changes: Sequence[tuple[Change, float]]
    ) -> torch.Tensor:
        base = self._plain(name)
        weight = base.float()
        for change, scale in changes:
            weight = weight + change.delta(base) * scale
        return torch.empty_like(base).copy_(weight)

    def _plain(self, name: LayerName) -> torch.Tensor:
        """The layer's weight or bias in floating-point numbers."""
        part, layer = name
        if layer.endswith(_BIAS):
            return self._parameter(name).data
        network: torch.nn.Module = getattr(self._pipeline, part)
        return plain_weight(network.get_submodule(layer))

    def _parameter(self, name: LayerName) -> torch.nn.Parameter:
        part, layer = name
        network: torch.nn.Module = getattr(self._pipeline, part)
        if layer.endswith(_BIAS):
            return network.get_parameter(layer)
        return network.get_parameter(f"{layer}.weight")


def _changes_of(
    adapters: Sequence[tuple[AdapterWeights, float]],
) -> dict[LayerName, list[tuple[Change, float]]]:
    """What these LoRAs change, by layer, each with its scale."""
    changes: dict[LayerName, list[tuple[Change, float]]] = {}
    for weights, scale in adapters:
        for part, layers in weights.parts.items():
            for layer, own in layers.items():
                changes.setdefault((part, layer), []).append((own, scale))
    return changes
