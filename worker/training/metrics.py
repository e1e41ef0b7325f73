"""How close one picture is to another: PSNR, SSIM and GMSD.

Pure numpy on uint8 [H, W, 3]. Knows nothing of models.
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]

SSIM_SIGMA = 1.5
GMSD_CONSTANT = 170.0
LUMA = (0.299, 0.587, 0.114)


def psnr(picture: Pixels, reference: Pixels) -> float:
    """Peak signal to noise ratio in dB over all colours; 100 for equal pictures."""
    difference = picture.astype(np.float64) - reference
    error = float(np.mean(difference**2))
    return 100.0 if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(picture: Pixels, reference: Pixels) -> float:
    """Structural similarity, Gaussian window of 1.5 pixels, mean of the three colours.

    Wang et al. 2004, doi:10.1109/TIP.2003.819861. 1 for equal pictures.
    """
    return float(np.mean([_ssim_plane(*pair) for pair in _planes(picture, reference)]))


def gmsd(picture: Pixels, reference: Pixels) -> float:
    """Gradient magnitude similarity deviation of the luma; 0 for equal pictures, less is better.

    Xue et al. 2014, doi:10.1109/TIP.2013.2293423: Prewitt gradients of the picture at half size.
    """
    first, second = _gradient(_half_luma(picture)), _gradient(_half_luma(reference))
    similarity = (2 * first * second + GMSD_CONSTANT) / (first**2 + second**2 + GMSD_CONSTANT)
    return float(similarity.std())


def _planes(picture: Pixels, reference: Pixels) -> list[tuple[Plane, Plane]]:
    colours = range(picture.shape[2])
    return [(picture[..., c].astype(float), reference[..., c].astype(float)) for c in colours]


def _ssim_plane(first: Plane, second: Plane) -> float:
    mean_first, mean_second = _window(first), _window(second)
    variance_first = _window(first**2) - mean_first**2
    variance_second = _window(second**2) - mean_second**2
    covariance = _window(first * second) - mean_first * mean_second
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_first * mean_second + c1) * (2 * covariance + c2)
    below = (mean_first**2 + mean_second**2 + c1) * (variance_first + variance_second + c2)
    return float(np.mean(above / below))


def _window(plane: Plane) -> Plane:
    """The Gaussian mean around every pixel whose whole window is inside."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    return _valid(_valid(plane, weights / weights.sum(), 0), weights / weights.sum(), 1)


def _valid(plane: Plane, weights: Plane, axis: int) -> Plane:
    views = np.lib.stride_tricks.sliding_window_view(plane, len(weights), axis=axis)
    return np.asarray(views @ weights)


def _half_luma(picture: Pixels) -> Plane:
    luma = picture.astype(np.float64) @ np.array(LUMA)
    height, width = (side // 2 * 2 for side in luma.shape)
    return np.asarray(luma[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3)))


def _gradient(plane: Plane) -> Plane:
    """Prewitt's gradient, divided by three as the authors do."""
    smooth, slope = np.full(3, 1 / 3), np.array([1.0, 0.0, -1.0])
    across = _valid(_valid(plane, smooth, 0), slope, 1)
    down = _valid(_valid(plane, slope, 0), smooth, 1)
    return np.hypot(across, down)
