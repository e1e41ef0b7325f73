"""The training task of a style LoRA: the ordinary diffusion objective, weighted by noise level.

Owns the batches of captioned photos and their loss. Knows nothing of optimisers and files.
"""

import numpy as np
import torch

from worker.training.buckets import Buckets
from worker.training.frozen_base import FrozenBase
from worker.training.photos import Photo
from worker.training.recipe import Recipe
from worker.training.restoration import to_tensor

MOST_SNR = 5.0


class StyleLoss:
    """The ordinary diffusion objective on captioned photos: what the base predicts, at any level.

    Levels are weighted by min-SNR (Hang et al. 2023, arXiv:2303.09556), without which the least
    noisy ones dominate.
    """

    def __init__(self, base: FrozenBase, photos: list[Photo], recipe: Recipe) -> None:
        self._base = base
        self._buckets = Buckets(photos, recipe.crop)
        self._recipe = recipe
        self._levels = len(base.scheduler.alphas_cumprod)

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        del progress
        recipe = self._recipe
        crops = self._buckets.draw(recipe.batch, random)
        drawn = [recipe.prompts[int(random.integers(len(recipe.prompts)))] for _ in crops]
        prompts = [crop.caption or prompt for crop, prompt in zip(crops, drawn, strict=True)]
        latents = self._base.encode(to_tensor([crop.pixels for crop in crops]))
        timesteps = torch.randint(0, self._levels, (recipe.batch,)).to(latents.device)
        alpha, sigma = self._base.levels(timesteps)
        noise = torch.randn(latents.shape).to(latents.device)
        output = self._base.output(
            alpha * latents + sigma * noise, timesteps, self._base.embed(prompts)
        )
        error = output - self._base.target(latents, noise, timesteps)
        weight = min_snr_weight(alpha, sigma, self._base.predicts_velocity)
        return (weight * error.square()).mean()


def min_snr_weight(
    alpha: torch.Tensor, sigma: torch.Tensor, predicts_velocity: bool
) -> torch.Tensor:
    """min(SNR, 5) for the error of the picture, in terms of the error of what is predicted."""
    snr = alpha.square() / sigma.square().clamp(min=1e-8)
    capped = snr.clamp(max=MOST_SNR)
    return capped / (snr + 1) if predicts_velocity else capped / snr.clamp(min=1e-8)
