"""The end of a device, as engines tell it."""


class DeviceLost(Exception):
    """Raised when a device will not come back in this process, such as after a CUDA error that
    leaves its context unusable. The job's attempt counts as a crash, since it may be the cause.
    """


class WeightsChanged(DeviceLost):
    """Raised when the base's weights are no longer the ones that were loaded."""
