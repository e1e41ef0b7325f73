"""Distinguishes errors after which a device is lost to this process from all others."""

import torch

from worker.engine.base.device_lost import DeviceLost


def translated(error: BaseException) -> BaseException:
    """DeviceLost for an error of the accelerator itself, otherwise the same error.

    After such an error ("CUDA error: an illegal memory access was encountered") every later call of
    this process fails as well; only a new process has a new context.
    """
    if isinstance(error, torch.AcceleratorError):
        lost = DeviceLost(f"the device failed: {error}")
        lost.__cause__ = error
        return lost
    return error
