"""Restoration pairs from photos, and their loss: the task of a LoRA that repairs.

Owns how batches are made and which objective is used. Knows nothing of optimisers and files.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from worker.training.damage import Pixels, draw_damage
from worker.training.frozen_base import FrozenBase, Words
from worker.training.objective import (
    Stretch,
    detail_loss,
    edge_loss,
    picture_loss,
    rollout_predictions,
    structure_loss,
)
from worker.training.photos import Photo, random_crop, without_colour
from worker.training.recipe import Recipe
from worker.training.sampler import Step, executed_steps

LAST_WEIGHS = 4.0
GREY_SHARE = 0.08

# Steps and strengths besides the recipe's own, so that moving a slider does no harm: every strength
# with the usual steps, more steps, few steps if many would take long, and the single step of a
# preview.
OTHER_SETTINGS = (
    *((10, tenths / 10) for tenths in range(1, 11)),
    (20, 0.1),
    (50, 0.1),
    (20, 0.4),
    (5, 0.4),
    (5, 0.8),
    (5, 1.0),
    (3, 1.0),
    (5, 0.2),
    (3, 0.4),
    (2, 0.6),
)


@dataclass(frozen=True)
class Pairs:
    """Damaged and clean pixels [N, 3, H, W] in -1..1, and a prompt for each."""

    damaged: torch.Tensor
    clean: torch.Tensor
    prompts: list[str]


def draw_pairs(photos: list[Photo], recipe: Recipe, random: np.random.Generator) -> Pairs:
    """One batch: crops, each damaged in one of the recipe's ways; a few of them grey."""
    clean, damaged, prompts = [], [], []
    for _ in range(recipe.batch):
        photo = random_crop(photos, recipe.crop, random)
        made = draw_damage(photo.pixels, recipe.treats, random)
        is_grey = random.random() < GREY_SHARE
        clean.append(without_colour(photo.pixels) if is_grey else photo.pixels)
        damaged.append(without_colour(made) if is_grey else made)
        drawn = recipe.prompts[int(random.integers(len(recipe.prompts)))]
        prompts.append(photo.caption or drawn)
    return Pairs(to_tensor(damaged), to_tensor(clean), prompts)


def to_tensor(pictures: list[Pixels]) -> torch.Tensor:
    """uint8 [H, W, 3] each to float [N, 3, H, W] in -1..1."""
    stacked: NDArray[np.uint8] = np.stack(pictures)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


class PictureLoss:
    """Compares restored latents with the clean picture, in the way that base and recipe allow."""

    def __init__(self, base: FrozenBase, recipe: Recipe) -> None:
        self._base = base
        self._recipe = recipe

    def _compare(self, x0: torch.Tensor, target: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        if self._recipe.compare_pixels:
            return compared(self._base.decode(x0), clean, self._recipe).mean()
        if self._base.folds:
            return compared(self._base.unfold(x0), clean, self._recipe).mean()
        unit = self._base.latent_unit
        return picture_loss(x0 / unit, target / unit).mean()


def compared(pixels: torch.Tensor, clean: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The loss of each picture [N] of pixels [N, 3, H, W] in -1..1, with the recipe's weights."""
    loss = picture_loss(pixels, clean)
    if weight := recipe.structure:
        loss = loss + weight * structure_loss(pixels, clean)
    if weight := recipe.edges:
        loss = loss + weight * edge_loss(pixels, clean)
    if weight := recipe.detail:
        loss = loss + weight * detail_loss(pixels, clean)
    return loss


class RestorationLoss(PictureLoss):
    """Draws batches and computes their loss; `progress` in 0..1 is the progress of the run."""

    def __init__(self, base: FrozenBase, photos: list[Photo], recipe: Recipe) -> None:
        super().__init__(base, recipe)
        self._photos = photos
        self._plan = executed_steps(base.scheduler, recipe.sampler_steps, recipe.strength)
        self._others = [executed_steps(base.scheduler, *setting) for setting in OTHER_SETTINGS]
        self._alphas = base.scheduler.alphas_cumprod.to(base.device)

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        pairs = draw_pairs(self._photos, self._recipe, random)
        clean = pairs.clean.to(self._base.device)
        embeddings = self._base.embed(pairs.prompts)
        target, source = self._base.encode(clean), self._base.encode(pairs.damaged)
        noise = torch.randn(source.shape).to(source.device)
        if self._recipe.objective == "path":
            return self._on_path(target, source, noise, embeddings, clean)
        stretch = self._draw_stretch(random, progress)
        found = rollout_predictions(
            lambda z, timestep: self._base.noise(z, timestep, embeddings), source, noise, stretch
        )
        weights = [1.0] * (len(found) - 1) + [LAST_WEIGHS]
        losses = [self._compare(x0, target, clean) for x0 in found]
        weighed = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
        return torch.stack(weighed).sum() / sum(weights)

    def _draw_stretch(self, random: np.random.Generator, progress: float) -> Stretch:
        """Mostly one step with gradients; towards the end all of them at once."""
        plan = self._draw_plan(random)
        if progress >= 1 - self._recipe.whole_share:
            return Stretch(plan, 0, len(plan))
        # The first step does most of the work and needs no roll-out before it.
        first = 0 if random.random() < 0.5 else int(random.integers(len(plan)))
        return Stretch(plan, first, self._recipe.horizon)

    def _draw_plan(self, random: np.random.Generator) -> list[Step]:
        if random.random() >= self._recipe.other_settings_share:
            return self._plan
        return self._others[int(random.integers(len(self._others)))]

    def _on_path(
        self,
        target: torch.Tensor,
        source: torch.Tensor,
        noise: torch.Tensor,
        embeddings: Words,
        clean: torch.Tensor,
    ) -> torch.Tensor:
        """One noise level per batch on the straight line from the damaged to the clean latents.

        The remaining damage shrinks with the noise, as it does in the sampler; the noise to predict
        is the one that leads to the clean picture.
        """
        start = self._plan[0]
        timestep = int(torch.randint(1, start.timestep + 1, ()))
        alpha, sigma = self._alphas[timestep].sqrt(), (1 - self._alphas[timestep]).sqrt()
        left = (sigma / alpha) / (start.sigma / start.alpha)
        z = alpha * (target + left * (source - target)) + sigma * noise
        epsilon = self._base.noise(z, timestep, embeddings)
        if self._recipe.compare_pixels:
            return self._compare((z - sigma * epsilon) / alpha, target, clean)
        return torch.nn.functional.mse_loss(epsilon, (z - alpha * target) / sigma)
