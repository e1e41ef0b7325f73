"""The training task of a style LoRA: the ordinary diffusion objective.

Owns the batches of captioned crops and their loss. Knows nothing of optimisers and files.
"""

import numpy as np
import torch

from worker.training.frozen_base import FrozenBase
from worker.training.photos import Photo, random_crop
from worker.training.recipe import Recipe
from worker.training.restoration import to_tensor


class StyleLoss:
    """The ordinary diffusion objective on captioned photos: predict the noise at any level."""

    def __init__(self, base: FrozenBase, photos: list[Photo], recipe: Recipe) -> None:
        self._base = base
        self._photos = photos
        self._recipe = recipe
        self._alphas = base.scheduler.alphas_cumprod.to(base.device)

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        del progress
        recipe = self._recipe
        crops = [random_crop(self._photos, recipe.crop, random) for _ in range(recipe.batch)]
        drawn = [recipe.prompts[int(random.integers(len(recipe.prompts)))] for _ in crops]
        prompts = [crop.caption or prompt for crop, prompt in zip(crops, drawn, strict=True)]
        latents = self._base.encode(to_tensor([crop.pixels for crop in crops]))
        timesteps = torch.randint(0, len(self._alphas), (recipe.batch,)).to(latents.device)
        alphas = self._alphas[timesteps].view(-1, 1, 1, 1)
        noise = torch.randn(latents.shape).to(latents.device)
        z = alphas.sqrt() * latents + (1 - alphas).sqrt() * noise
        epsilon = self._base.noise(z, timesteps, self._base.embed(prompts))
        return torch.nn.functional.mse_loss(epsilon, noise)
