"""Whether a step is computed in bfloat16: only if the device has instructions for it.

Processors without them emulate it, which made a step seventeen times slower.
"""

import torch

from worker.engine.base.precision import choose_autocast


def autocast(device: torch.device, wanted: bool = True) -> torch.autocast:
    """A context that computes in bfloat16 if `wanted` and if `device` is fast at it."""
    quick = device.type != "cpu" or choose_autocast(device, "auto") is not None
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and quick)
