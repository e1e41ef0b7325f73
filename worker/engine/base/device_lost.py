"""Errors after which a device cannot be used by this process any more."""


class DeviceLost(Exception):
    """Raised when a device is lost to this process, such as after a CUDA error that leaves its
    context unusable. The job's attempt counts as a crash, since it may be the cause.
    """


class WeightsChanged(DeviceLost):
    """Raised when the base's weights are no longer the ones that were loaded."""
