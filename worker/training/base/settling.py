"""Fixes a base to one noise level, at which it is trained and served.

Owns the served noise schedule and the fixed time embedding. Knows nothing of training.

The noise that a UNet predicts is the change of the picture divided by sigma over alpha. On Stable
Diffusion's schedule that ratio is forty times as large at strength 1 as at 0.1, and group
normalisation hides such a factor from all but the output layer: a LoRA that is right at one
strength does too much at every higher one. Restoring needs no range of noise levels. The schedule
is therefore nearly constant, starting from the noise of one timestep of the usual one, and the UNet
always sees that timestep.
"""

from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler


@torch.no_grad()
def settle_time(unet: Any, timestep: int) -> None:
    """Makes `unet` respond at every timestep as at `timestep`, also during training."""
    embedding = unet.time_embedding.linear_1
    wave = unet.time_proj(torch.tensor([timestep], device=embedding.weight.device))
    embedding.bias.add_(embedding.weight @ wave[0].to(embedding.weight.dtype))
    embedding.weight.zero_()
    embedding.weight.requires_grad_(False)


def settled_scheduler(
    scheduler: Any, timestep: int, most_noise: float
) -> DPMSolverMultistepScheduler:
    """A schedule that starts with the noise of `scheduler` at `timestep` and ends with
    `most_noise`.

    Noise is sigma over alpha; its logarithm rises linearly, since DPM-Solver++ needs a
    signal-to-noise ratio that always falls. Raises ValueError if `most_noise` is not above the
    first value.
    """
    signal = scheduler.alphas_cumprod[timestep]
    ratio = float(((1 - signal) / signal).sqrt())
    last = len(scheduler.alphas_cumprod) - 1
    if most_noise <= ratio:
        raise ValueError(f"most_noise is {most_noise}; it must be above {ratio:.3f}")
    slope = np.log(most_noise / ratio) / (last - timestep)
    noise = ratio * np.exp(slope * (np.arange(last + 1) - timestep))
    kept = 1 / (1 + noise**2)
    betas = 1 - kept / np.concatenate([[1.0], kept[:-1]])
    return DPMSolverMultistepScheduler(
        trained_betas=[float(beta) for beta in betas],
        prediction_type="epsilon",
        steps_offset=1,
    )
