"""The training task of the embedded base's UNet: restore any damage, with or without a prompt.

Owns the batches and the loss. Latents of this base are folded pixels, so the loss needs no decoder.
"""

from typing import Any

import numpy as np
import torch
from transformers import CLIPTokenizer

from worker.training.base.autoencoder import FOLD
from worker.training.base.recipe import BaseRecipe
from worker.training.damage import KINDS, Kind, Pixels, degrade, draw_level
from worker.training.objective import Stretch, rollout_predictions
from worker.training.photos import Photo, random_crop
from worker.training.precision import autocast
from worker.training.restoration import to_tensor
from worker.training.sampler import Step, executed_steps

UNPROMPTED = "none"

# Steps and strength: mostly the service's single step, and sometimes others that a caller may
# choose, whose states include the effects of the steps before.
SERVED = (10, 0.1)
OTHERS = ((20, 0.1), (10, 0.2), (10, 0.4), (5, 0.8))
SERVED_SHARE = 8


def fold(pixels: torch.Tensor, latent_scale: float) -> torch.Tensor:
    """[N, 3, H, W] in -1..1 to the encoder's latents: [N, 12, H/2, W/2]."""
    return torch.nn.functional.pixel_unshuffle(pixels.contiguous(), FOLD) * latent_scale


class PretrainingLoss:
    """Charbonnier's loss on the predicted clean latents, from the sampler's own states."""

    def __init__(
        self,
        unet: Any,
        text_encoder: Any,
        tokenizer: CLIPTokenizer,
        scheduler: Any,
        photos: list[Photo],
        recipe: BaseRecipe,
    ) -> None:
        self._unet = unet
        self._text_encoder = text_encoder
        self._tokenizer = tokenizer
        self._photos = photos
        self._recipe = recipe
        served = executed_steps(scheduler, *SERVED)
        self._plans = [served] * SERVED_SHARE + [executed_steps(scheduler, *o) for o in OTHERS]

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        del progress
        damaged, clean, prompts = self._batch(random)
        embeddings = self._embed(prompts)

        def denoise(z: torch.Tensor, timestep: int) -> torch.Tensor:
            laid_out = z.contiguous(memory_format=torch.channels_last)
            with autocast(z.device):
                noise: torch.Tensor = self._unet(laid_out, timestep, embeddings)[0]
            return noise.float()

        found = rollout_predictions(
            denoise, damaged, torch.randn(damaged.shape), self._stretch(random)
        )[0]
        return self._compare(found, clean)

    def _batch(self, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        crops, damaged, prompts = [], [], []
        for _ in range(self._recipe.unet.batch):
            pixels = random_crop(self._photos, self._recipe.unet.crop, random).pixels
            kind = KINDS[int(random.integers(len(KINDS)))]
            crops.append(pixels)
            damaged.append(degrade(pixels, kind, draw_level(kind, random), random))
            prompts.append(self._prompt(kind, random))
        return self._fold(damaged), self._fold(crops), prompts

    def _fold(self, pictures: list[Pixels]) -> torch.Tensor:
        return fold(to_tensor(pictures), self._recipe.unet.latent_scale)

    def _prompt(self, kind: Kind, random: np.random.Generator) -> str:
        named = random.random() < self._recipe.unet.prompted_share
        texts = self._recipe.prompts[kind if named else UNPROMPTED]
        return texts[int(random.integers(len(texts)))]

    def _embed(self, prompts: list[str]) -> torch.Tensor:
        tokens = self._tokenizer(
            prompts, padding="max_length", truncation=True, return_tensors="pt"
        )
        states: torch.Tensor = self._text_encoder(tokens.input_ids)[0]
        return states

    def _stretch(self, random: np.random.Generator) -> Stretch:
        plan: list[Step] = self._plans[int(random.integers(len(self._plans)))]
        later = random.random() < self._recipe.unet.later_step_share
        return Stretch(plan, int(random.integers(len(plan))) if later else 0, 1)

    def _compare(self, found: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        error = (found - clean) / self._recipe.unet.latent_scale
        return 10 * (error.square() + 1e-5).sqrt().mean()
