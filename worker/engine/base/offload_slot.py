"""Modules that stay in main memory and are on the device only while they are used."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class OffloadSlot:
    """Some modules of a pipeline and their device. Nothing moves before `offload`.

    Modules that are used one after the other are on the device `in_turn`, never together.
    """

    def __init__(
        self, modules: Sequence[torch.nn.Module], device: torch.device, in_turn: bool = False
    ) -> None:
        self._modules = modules
        self._device = device
        self._in_turn = in_turn and len(modules) > 1
        self._offloaded = False

    def offload(self) -> bool:
        """Keeps the modules in main memory from now on; False if that would free nothing."""
        if self._offloaded or self._device.type == "cpu":
            return False
        self._offloaded = True
        self._move(torch.device("cpu"))
        return True

    def restore(self) -> None:
        """Moves the modules back to the device; if they do not fit they stay offloaded."""
        if self._offloaded:
            self._move(self._device)
            self._offloaded = False

    @contextmanager
    def present(self) -> Iterator[None]:
        """Inside the block the modules are on the device, all of them or each when it is called."""
        if not self._offloaded:
            yield
            return
        hooks = []
        if self._in_turn:
            hooks = [m.register_forward_pre_hook(self._take_turn) for m in self._modules]
        else:
            self._move(self._device)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._move(torch.device("cpu"))

    def _take_turn(self, module: torch.nn.Module, _inputs: object) -> None:
        for other in self._modules:
            if other is not module:
                other.to("cpu")
        module.to(self._device)

    def _move(self, device: torch.device) -> None:
        """Moves all of the modules or none."""
        try:
            for module in self._modules:
                module.to(device)
        except torch.OutOfMemoryError:
            for module in self._modules:
                module.to("cpu")
            raise
