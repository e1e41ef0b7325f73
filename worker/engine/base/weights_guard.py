"""Detects base weights that differ from those that were loaded.

A LoRA that bleeds into the base, or a flipped bit, would spoil every later picture silently. Each
tensor's bits are summed as integers, once at start and then repeatedly, a slice at a time: exact,
and as fast as memory. Belongs to the engine's thread.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from worker.engine.lora.lora_file import PARTS
from worker.engine.lora.merging import LayerName

# The size of one slice: about 20 ms on a CPU, less than one step of the smallest base.
SLICE_BYTES = 64 * 2**20
# Pictures between two slices while the engine is busy; the shortest time between two rounds.
PICTURES = 16
ROUND_SECONDS = 60.0

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Pristine = Callable[[LayerName], torch.Tensor | None]


class WeightsGuard:
    """Checks one pipeline. `pristine` returns a layer's own weight while LoRAs are merged."""

    def __init__(
        self, pipeline: Any, pristine: Pristine, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tensors = dict(_tensors_of(pipeline))
        self._names = list(self._tensors)
        self._pristine = pristine
        self._clock = clock
        self._sums = self._summed(self._names)
        self._at = 0
        self._pictures = 0
        self._round_ended = clock()
        self.rounds = 0

    def count_picture(self) -> None:
        """Counts a picture that was made with these weights."""
        self._pictures += 1

    def is_due(self, idle: bool) -> bool:
        """Whether to check a slice now: rarely under load, else until the round is complete."""
        if not idle:
            return self._pictures >= PICTURES
        has_rested = self._clock() - self._round_ended >= ROUND_SECONDS
        return self._at > 0 or (self._pictures > 0 and has_rested)

    def look(self) -> str | None:
        """Checks the next slice; returns its first tensor that has changed."""
        names = list(self._next_slice())
        self._pictures = 0
        self._at += len(names)
        if self._at == len(self._names):
            self._at, self._round_ended = 0, self._clock()
            self.rounds += 1
        sums = self._summed(names)
        return next((name for name in names if sums[name] != self._sums[name]), None)

    def _next_slice(self) -> Iterator[str]:
        size = 0
        for name in self._names[self._at :]:
            yield name
            size += self._tensors[name].nbytes
            if size >= SLICE_BYTES:
                return

    def _summed(self, names: list[str]) -> dict[str, int]:
        with torch.inference_mode():
            sums = [sum_of_bits(self._current(name)) for name in names]
            by_device = {
                device: [s for s in sums if s.device == device] for device in _devices(sums)
            }
            values = {device: iter(torch.stack(own).tolist()) for device, own in by_device.items()}
        return {name: next(values[s.device]) for name, s in zip(names, sums, strict=True)}

    def _current(self, name: str) -> torch.Tensor:
        part, _, rest = name.partition(".")
        kept = self._pristine((part, rest.removesuffix(".weight")))
        return self._tensors[name].data if kept is None else kept


def _devices(sums: list[torch.Tensor]) -> set[torch.device]:
    return {one.device for one in sums}


def _tensors_of(pipeline: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter that has memory, as `part.layer.weight`."""
    for part in (*PARTS, "vae"):
        module = getattr(pipeline, part, None)
        if isinstance(module, torch.nn.Module):
            for name, parameter in module.named_parameters():
                if parameter.device.type != "meta":
                    yield f"{part}.{name}", parameter


def sum_of_bits(weight: torch.Tensor) -> torch.Tensor:
    """The sum of the tensor's bytes as 64-bit integers, on the tensor's device."""
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    if dense and weight.nbytes % 8 == 0 and weight.data_ptr() % 8 == 0:
        return weight.as_strided((weight.numel(),), (1,)).view(torch.int64).sum()
    return weight.view(_INTEGERS[weight.element_size()]).sum(dtype=torch.int64)
