"""Settles a base on one noise level, the one that it learns and is served with.

Owns the served noise schedule and the fixed time embedding. Knows nothing of training.

The noise that a UNet predicts stands for a change of the picture divided by sigma over alpha. On
Stable Diffusion's schedule that ratio is forty times as large at strength 1 as at 0.1, and group
normalisation hides such a factor from all but the output layer: a LoRA that is right at one
strength does too much at every higher one. A restorer needs no range of noise levels. So the
schedule is nearly level, from the noise of one timestep of the usual one, and the UNet always sees
that timestep.
"""

from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler


@torch.no_grad()
def settle_time(unet: Any, timestep: int) -> None:
    """Make `unet` answer at every timestep as it does at `timestep`, and training keep it so."""
    embedding = unet.time_embedding.linear_1
    wave = unet.time_proj(torch.tensor([timestep], device=embedding.weight.device))
    embedding.bias.add_(embedding.weight @ wave[0].to(embedding.weight.dtype))
    embedding.weight.zero_()
    embedding.weight.requires_grad_(False)


def settled_scheduler(
    scheduler: Any, timestep: int, most_noise: float
) -> DPMSolverMultistepScheduler:
    """A schedule with the noise of `scheduler` at `timestep`, and `most_noise` at the last one.

    Noise is sigma over alpha; it rises evenly in its logarithm, since DPM-Solver++ needs a signal
    to noise ratio that always falls. Raises ValueError where `most_noise` is not above the first.
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
