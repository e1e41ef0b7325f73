"""Modules that wait in main memory and come to the device only while they are used."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class Parking:
    """Some modules of a pipeline and their device. Nothing moves until they are parked."""

    def __init__(self, modules: Sequence[torch.nn.Module], device: torch.device) -> None:
        self._modules = modules
        self._device = device
        self._parked = False

    def park(self) -> bool:
        """From now on keep the modules in main memory; False where that would free nothing."""
        if self._parked or self._device.type == "cpu":
            return False
        self._parked = True
        self._move(torch.device("cpu"))
        return True

    def unpark(self) -> None:
        """Bring the modules back to stay. Where the device has no room they stay parked."""
        if self._parked:
            self._move(self._device)
            self._parked = False

    @contextmanager
    def present(self) -> Iterator[None]:
        """The modules are on the device inside the block."""
        if not self._parked:
            yield
            return
        self._move(self._device)
        try:
            yield
        finally:
            self._move(torch.device("cpu"))

    def _move(self, device: torch.device) -> None:
        """All of the modules or none."""
        try:
            for module in self._modules:
                module.to(device)
        except torch.OutOfMemoryError:
            for module in self._modules:
                module.to("cpu")
            raise
