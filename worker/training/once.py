"""A LoRA that restores in one prediction, for the sampler `once`: its loss and its pictures.

The damaged photo's latents go in without noise at one timestep, and the restored ones are read off
the prediction, as in OSEDiff (arXiv:2406.08177) and HYPIR (arXiv:2507.20590). Owns that reading.
"""

import numpy as np
import torch

from worker.training.frozen_base import FrozenBase, Words
from worker.training.photos import Photo
from worker.training.recipe import Recipe
from worker.training.restoration import PictureLoss, draw_pairs


def predicted_once(
    base: FrozenBase, latents: torch.Tensor, timestep: int, words: Words
) -> torch.Tensor:
    """The restored latents behind one prediction for these latents."""
    alpha, sigma = base.levels(timestep)
    return (latents - sigma * base.noise(latents, timestep, words)) / alpha


class OnceLoss(PictureLoss):
    """Draws damaged crops and compares what is read off their latents with the clean ones."""

    def __init__(self, base: FrozenBase, photos: list[Photo], recipe: Recipe) -> None:
        super().__init__(base, recipe)
        self._photos = photos

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        del progress
        pairs = draw_pairs(self._photos, self._recipe, random)
        clean = pairs.clean.to(self._base.device)
        source, target = self._base.encode(pairs.damaged), self._base.encode(clean)
        words = self._base.embed(pairs.prompts)
        found = predicted_once(self._base, source, self._recipe.timestep, words)
        return self._compare(found, target, clean)
