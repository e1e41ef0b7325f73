"""Restores what the autoencoder loses: the step after decoding, for every base.

An autoencoder loses some detail. Comparing the source with its own reconstruction shows the loss,
which is added to the result, completely or only its low frequencies (as in StableSR's colour
correction, Wang et al. 2023, arXiv:2305.07015). Knows nothing of pipelines and jobs; works on
tensors alone.
"""

from typing import get_args

import torch
from torch.nn import functional

from shared.params import Fidelity

LOW_FREQUENCY_SIGMA = 2.0


def needs_reconstruction(mode: Fidelity) -> bool:
    """Whether a mode restores what the autoencoder loses; others change the finished picture."""
    return mode in ("low", "residual")


def apply_fidelity(
    mode: Fidelity,
    source: torch.Tensor,
    decoded: torch.Tensor,
    reconstructed: torch.Tensor,
) -> torch.Tensor:
    """The decoded result, corrected by what `reconstructed = D(E(source))` lacks.

    All tensors are [N, C, H, W] in one value range, which the result may exceed: clamp afterwards.
    `low` adds the blurred loss, which suits sources whose fine detail is damage (noise, JPEG
    blocks); `residual` adds all of it, which suits sources that lack detail; other modes return
    `decoded`. Raises ValueError if the shapes differ or the mode is unknown.
    """
    if not source.shape == decoded.shape == reconstructed.shape:
        shapes = f"{tuple(source.shape)}, {tuple(decoded.shape)}, {tuple(reconstructed.shape)}"
        raise ValueError(f"source, decoded and reconstructed differ in shape: {shapes}")
    if mode not in get_args(Fidelity):
        raise ValueError(f"unknown fidelity {mode!r}; one of {', '.join(get_args(Fidelity))}")
    if not needs_reconstruction(mode):
        return decoded
    lost = source - reconstructed
    return decoded + (gaussian_blur(lost, LOW_FREQUENCY_SIGMA) if mode == "low" else lost)


def pad_to_multiple(picture: torch.Tensor, multiple: int = 8) -> torch.Tensor:
    """[N, C, H, W] with edges repeated on the right and at the bottom until both sides are
    multiples.
    """
    height, width = picture.shape[-2:]
    right, below = -width % multiple, -height % multiple
    if right == below == 0:
        return picture
    return functional.pad(picture, (0, right, 0, below), mode="replicate")


def crop_to(picture: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Undoes `pad_to_multiple`: the top left part of `picture` with the size of `like`."""
    height, width = like.shape[-2:]
    return picture[..., :height, :width]


def gaussian_blur(picture: torch.Tensor, sigma: float) -> torch.Tensor:
    """Separable Gaussian of `sigma` pixels, truncated at 3 sigma, edges repeated."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=picture.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(picture.dtype)
    channels = picture.shape[1]
    across = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = functional.pad(picture, (radius, radius, radius, radius), mode="replicate")
    blurred = functional.conv2d(padded, across, groups=channels)
    return functional.conv2d(blurred, across.transpose(2, 3), groups=channels)
