"""Errors after which this process can no longer use a device."""


class DeviceLost(Exception):
    """Raised when a device is lost to this process, for example after a CUDA error that makes its
    context unusable. The job's attempt counts as a crash, since it may be the cause.
    """


class WeightsChanged(DeviceLost):
    """Raised when the base's weights are no longer the ones that were loaded."""
