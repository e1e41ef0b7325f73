"""Errors of a device, and what they become."""

import torch

from worker.engine.base.device_errors import translated
from worker.engine.base.device_lost import DeviceLost


def test_an_error_of_the_accelerator_means_that_the_device_is_lost() -> None:
    broken = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    lost = translated(broken)
    assert isinstance(lost, DeviceLost)
    assert lost.__cause__ is broken


def test_too_little_memory_and_a_bug_leave_the_device_as_it_is() -> None:
    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes")):
        assert translated(error) is error
