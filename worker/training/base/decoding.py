"""The training task of the autoencoder's decoder: unfold what the encoder folded.

Owns the batches and the loss.
"""

import numpy as np
import torch
from diffusers import AutoencoderTiny

from worker.training.base.autoencoder import RAW_SPAN
from worker.training.base.recipe import DecoderRecipe
from worker.training.damage import KINDS, Pixels, degrade, draw_level
from worker.training.photos import Photo, random_crop
from worker.training.precision import autocast
from worker.training.restoration import to_tensor


class DecodingLoss:
    """Logarithm of the squared error plus a small part of the absolute error, on crops."""

    def __init__(self, vae: AutoencoderTiny, photos: list[Photo], recipe: DecoderRecipe) -> None:
        self._vae = vae
        self._photos = photos
        self._recipe = recipe

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        pixels = to_tensor([self._crop(random) for _ in range(self._recipe.batch)])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            raw = self._vae.encode(pixels).latents
        raw = raw + torch.randn(raw.shape) * RAW_SPAN * self._recipe.noise
        # The last decibels are finer than bfloat16's resolution.
        with autocast(pixels.device, progress < 0.6):
            decoded = self._vae.decode(raw).sample
        error = (decoded.float() - pixels) / 2
        squared = error.square().mean((1, 2, 3))
        loss: torch.Tensor = torch.log(squared + 1e-6).mean() + 5 * error.abs().mean()
        return loss

    def _crop(self, random: np.random.Generator) -> Pixels:
        """Some crops are damaged: the sampler's results are not always clean photos."""
        pixels = random_crop(self._photos, self._recipe.crop, random).pixels
        if random.random() >= self._recipe.damaged_share:
            return pixels
        kind = KINDS[int(random.integers(len(KINDS)))]
        return degrade(pixels, kind, draw_level(kind, random), random)
