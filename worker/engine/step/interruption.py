"""Points in the middle of a unit of work at which urgent work can run first.

On a CPU one step of a large picture takes longer than a preview may wait. Between two layers of a
network no computation is pending, so another network call can be made there. Owns these points,
before every convolution and every block that may run compiled, and ensures that they do not nest.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from worker.engine.compiled.regions import is_region


class Interruption:
    """Calls `between` at every point, for as long as the modules exist. Belongs to one thread."""

    def __init__(self, modules: Sequence[torch.nn.Module], between: Callable[[], None]) -> None:
        self._between = between
        self._inside = False
        for module in modules:
            self.watch(module)

    def watch(self, module: torch.nn.Module) -> None:
        """Adds points before the layers of this module, too."""
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d) or is_region(layer):
                layer.register_forward_pre_hook(self._pause)

    def _pause(self, _layer: torch.nn.Module, _args: Any) -> None:
        if self._inside:
            return
        self._inside = True
        try:
            self._between()
        finally:
            self._inside = False
