"""PSNR, SSIM and GMSD against scikit-image and against what they must be."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from worker.training.damage import Pixels
from worker.training.damage.blurring import gaussian
from worker.training.damage.noise import white
from worker.training.metrics import gmsd, psnr, ssim


@pytest.fixture
def pair() -> tuple[Pixels, Pixels]:
    random = np.random.default_rng(0)
    clean = gaussian(random.integers(0, 256, (60, 70, 3), dtype=np.uint8), 1.0)
    return white(clean, 10, random), clean


def test_psnr_agrees_with_scikit_image(pair: tuple[Pixels, Pixels]) -> None:
    noisy, clean = pair
    assert psnr(noisy, clean) == pytest.approx(peak_signal_noise_ratio(clean, noisy))


def test_ssim_agrees_with_scikit_image(pair: tuple[Pixels, Pixels]) -> None:
    noisy, clean = pair
    theirs = structural_similarity(
        clean, noisy, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(noisy, clean) == pytest.approx(theirs, abs=1e-3)


def test_equal_pictures_are_perfect(pair: tuple[Pixels, Pixels]) -> None:
    _, clean = pair
    assert psnr(clean, clean) == 100
    assert ssim(clean, clean) == pytest.approx(1)
    assert gmsd(clean, clean) == pytest.approx(0, abs=1e-9)


def test_gmsd_grows_with_blur(pair: tuple[Pixels, Pixels]) -> None:
    _, clean = pair
    assert 0 < gmsd(gaussian(clean, 0.7), clean) < gmsd(gaussian(clean, 1.5), clean)
