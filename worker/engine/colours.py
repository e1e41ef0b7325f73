"""Gives a finished picture the colours of its photo, as published with one-step restoration.

Owns two transfers, both on whole 8-bit pictures, so that tiles leave no edges. `adain` gives every
channel the photo's mean and deviation (Huang and Belongie 2017, arXiv:1703.06868); `wavelet` takes
the photo's low frequencies and the picture's high ones (as in StableSR, Wang et al. 2023,
arXiv:2305.07015). Knows nothing of engines.
"""

import numpy as np
import numpy.typing as npt

from shared.params import Fidelity
from worker.engine.interface import Pixels

Channel = npt.NDArray[np.float32]

# Each level blurs with [1 2 1] / 4, with taps twice as far apart as on the level before.
WAVELET_LEVELS = 5
# Below the variance of flat channels, on a scale of 0 to 1; both published codes add this.
EPSILON = 1e-5


def with_colours(mode: Fidelity, photo: Pixels, made: Pixels) -> Pixels:
    """`made` with the photo's colours, if the mode is one of the two; both have one size."""
    if mode not in ("wavelet", "adain"):
        return made
    change = _wavelet if mode == "wavelet" else _adain
    result = np.empty_like(made)
    for index in range(3):
        changed = change(photo[..., index].astype(np.float32), made[..., index].astype(np.float32))
        result[..., index] = np.clip(np.rint(changed), 0, 255)
    return result


def _adain(photo: Channel, made: Channel) -> Channel:
    scale = _deviation(photo) / _deviation(made)
    return np.asarray((made - made.mean()) * scale + photo.mean(), np.float32)


def _deviation(channel: Channel) -> float:
    variance = float(np.var(channel / 255, dtype=np.float64)) * channel.size
    return float((variance / max(1, channel.size - 1) + EPSILON) ** 0.5)


def _wavelet(photo: Channel, made: Channel) -> Channel:
    # Blurring is linear: low(photo) + made - low(made).
    low = photo - made
    for level in range(WAVELET_LEVELS):
        low = _blurred(_blurred(low, 2**level, 0), 2**level, 1)
    return made + low


def _blurred(channel: Channel, radius: int, axis: int) -> Channel:
    """[1 2 1] / 4 along an axis, the outer taps `radius` away, edges repeated."""
    sides = [(0, 0), (0, 0)]
    sides[axis] = (radius, radius)
    padded = np.moveaxis(np.pad(channel, sides, mode="edge"), axis, 0)
    count = channel.shape[axis]
    blurred = (padded[:count] + 2 * padded[radius : radius + count] + padded[2 * radius :]) / 4
    return np.moveaxis(np.asarray(blurred, np.float32), 0, axis)
