"""Runs a base's blocks by compiled code where there is some, and tells which way they ran.

Belongs to the engine's thread.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from worker.engine.compiled.background import Background, Wanted
from worker.engine.compiled.code import Code
from worker.engine.compiled.regions import (
    LEAST_SIDE,
    MOST_SIDE,
    ROWS,
    Given,
    Input,
    description,
    have_layout,
    inputs_of,
    is_last,
    kind_of,
    layout_of,
    regions_of,
)

NAME, USUAL = "inductor", "torch"


class CompiledBlocks:
    """The blocks of these networks; each tries code first from now on."""

    def __init__(self, networks: Mapping[str, torch.nn.Module], background: Background) -> None:
        self.background = background
        self._told: list[set[str]] = []
        self._slots_open: Callable[[], bool] = lambda: False
        self._blocks = [
            _Block(module, self) for network in networks.values() for module in regions_of(network)
        ]

    def mind_slots(self, are_open: Callable[[], bool]) -> None:
        """Whether LoRA slots act now: layers with slots then compute more than code knows of."""
        self._slots_open = are_open

    @property
    def generation(self) -> int:
        """Another number after code has come or gone: what was captured before it is outdated."""
        return self.background.generation

    @property
    def slots_open(self) -> bool:
        return self._slots_open()

    def tell(self, name: str) -> None:
        if self._told:
            self._told[-1].add(name)

    @contextmanager
    def listening(self) -> Iterator[set[str]]:
        """What runs blocks inside; a preview that interrupts has its own set."""
        self._told.append(set())
        try:
            yield self._told[-1]
        finally:
            self._told.pop()

    def shown(self) -> dict[str, Any]:
        """For people to read."""
        return {"by": NAME, "blocks": len(self._blocks), **self.background.shown()}

    def close(self) -> None:
        self.background.close()


class _Block:
    """One block; `forward` hides that of its class."""

    def __init__(self, module: torch.nn.Module, owner: CompiledBlocks) -> None:
        self._module = module
        self._owner = owner
        self._usual = module.forward
        self._layers = list(module.modules())[1:]
        self._weights = list(module.parameters())
        self._layout = layout_of(self._weights)
        self._device_type = owner.background.device.type
        self._description = description(module)
        self._wanted: dict[Any, Wanted] = {}
        setattr(module, "forward", self._forward)  # noqa: B010

    def _forward(self, *given: Any, **named: Any) -> Any:
        inputs = _inputs(given, named)
        wanted = self._wanted_for(inputs) if inputs is not None else None
        code = None if wanted is None else wanted.code
        if wanted is not None and code is not None:
            try:
                value = self._run(code, [x for x in inputs or () if x is not None])
            except RuntimeError as error:
                # For want of memory the block itself fails, too, and the code is kept.
                usual = self._usual(*given, **named)
                self._owner.background.give_up(wanted, error)
                self._owner.tell(USUAL)
                return usual
            self._owner.tell(NAME)
            return value
        self._owner.tell(USUAL)
        return self._usual(*given, **named)

    def _run(self, code: Code, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Code has its conversions inside: torch's own would convert a second time."""
        was_on = torch.is_autocast_enabled(self._device_type)
        torch.set_autocast_enabled(self._device_type, False)
        try:
            return code([*inputs, *self._weights])
        finally:
            torch.set_autocast_enabled(self._device_type, was_on)

    def _wanted_for(self, inputs: Given) -> Wanted | None:
        """What there is for these inputs; None if code could not compute them."""
        if not self._fits(inputs):
            return None
        if self._owner.slots_open and any("forward" in vars(layer) for layer in self._layers):
            return None
        own = self._device_type
        autocast = torch.get_autocast_dtype(own) if torch.is_autocast_enabled(own) else None
        key = (autocast, torch.get_num_threads(), *_types(inputs))
        wanted = self._wanted.get(key)
        if wanted is None:
            known: tuple[Input | None, ...] = inputs_of(inputs)
            kind = kind_of(self._description, known, autocast, self._owner.background.device)
            wanted = self._wanted[key] = self._owner.background.want(kind, self._module)
        if not wanted.is_settled and inputs[0] is not None:
            wanted.work += inputs[0].numel()
        return wanted

    def _fits(self, inputs: Given) -> bool:
        """Whether the inputs and the weights, which LoRAs exchange, are such as code expects."""
        picture = inputs[0]
        if picture is None or picture.dim() != 4 or not _is_known_layout(picture):
            return False
        rows, _, height, width = picture.shape
        if rows > ROWS or min(height, width) < LEAST_SIDE or max(height, width) > MOST_SIDE:
            return False
        others = [x for x in inputs[1:] if x is not None]
        if not all(x.dim() == 2 and x.is_contiguous() and x.shape[0] == rows for x in others):
            return False
        tensors = [picture, *others, *self._weights]
        are_here = all(x.device.type == self._device_type for x in tensors)
        return are_here and have_layout(self._weights, self._layout)


def _inputs(given: tuple[Any, ...], named: dict[str, Any]) -> Given | None:
    """The inputs in order; None if they are others than tensors."""
    if not set(named) <= {"temb"}:
        return None
    inputs = (*given, *named.values())
    if not all(x is None or isinstance(x, torch.Tensor) for x in inputs):
        return None
    return inputs


def _types(inputs: Given) -> tuple[Any, ...]:
    return tuple(None if x is None else (x.dtype, is_last(x)) for x in inputs)


def _is_known_layout(picture: torch.Tensor) -> bool:
    """On a GPU torch changes layouts on the way; a CPU's networks keep channels last."""
    return is_last(picture) or (picture.device.type != "cpu" and picture.is_contiguous())
