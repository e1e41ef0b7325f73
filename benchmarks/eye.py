"""One number for how a picture looks beside the clean one, in decibels.

Owns the weights. PSNR alone prefers what is smooth; the eye minds edges that are lost (GMSD),
structure (SSIM), and fine detail that is too faint or too strong around a place, wherever exactly
it lies (`detail_loss`, in two bands of frequency).
"""

import numpy as np

from worker.training.damage import Pixels
from worker.training.metrics import LUMA, gmsd, psnr, ssim
from worker.training.validation import detail_missed

STRUCTURE, EDGES, DETAIL = 10.0, 60.0, 10.0
# Above it nobody sees a difference.
MOST = 42.0
FAINT = 1.0


def quality(picture: Pixels, clean: Pixels) -> float:
    """PSNR with what SSIM, GMSD and the amount of detail add or take away; uint8 [H, W, 3]."""
    return (
        min(MOST, psnr(picture, clean))
        + STRUCTURE * ssim(picture, clean)
        - EDGES * gmsd(picture, clean)
        - DETAIL * detail_missed(picture, clean)
    )


def edge_energy(picture: Pixels) -> float:
    """The mean size of steps between neighbouring pixels of the luma, grey levels."""
    luma = picture.astype(np.float64) @ np.asarray(LUMA, dtype=np.float64)
    steps = [np.abs(np.diff(luma, axis=axis)).mean() for axis in (0, 1)]
    return float(np.mean(steps)) + FAINT
