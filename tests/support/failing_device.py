"""A device that runs out of memory at an operator of a test's choice."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What a tokenizer does to make tensors in main memory.
TAKE_NO_MEMORY = (torch.ops.aten.lift_fresh.default, torch.ops.aten.detach.default)


class Device(TorchDispatchMode):
    """Counts operators, and has no memory for those from `first` on, `times` of them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.first, self.times = 0, 0

    def fail(self, first: int, times: int) -> None:
        self.count, self.first, self.times = 0, first, times

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func in TAKE_NO_MEMORY:
            return func(*args, **(kwargs or {}))
        self.count += 1
        if self.first <= self.count < self.first + self.times:
            raise torch.OutOfMemoryError("injected")
        return func(*args, **(kwargs or {}))
