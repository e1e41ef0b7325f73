"""A LoRA with one step at any strength: faithful at low strength, vivid at high strength.

Owns how losses are weighted by strength. The timestep tells the network the strength, so one set of
weights serves every strength, and moving a slider loads no other model. What is vivid is learnt
from the clean photos, sharpened, or from a teacher's redrawings.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from worker.training.adversary import Adversary
from worker.training.frozen_base import FrozenBase
from worker.training.objective import (
    detail_loss,
    edge_loss,
    picture_loss,
    sharpened,
    structure_loss,
)
from worker.training.photos import Photo
from worker.training.recipe import Recipe
from worker.training.restoration import Pairs, compared, draw_pairs
from worker.training.sampler import single_step
from worker.training.teaching import Lesson, draw_lessons, draw_shrunk_pairs

LOWEST, HIGHEST = 0.05, 1.0
# This many strengths; neighbouring ones differ by less than is visible.
DEGREES = 96
# At the highest strength: how much of its finest detail is added to the target, and the weights of
# the squared error and of the amount of detail.
MOST_SHARPENED = 0.5
LEAST_SQUARED, MOST_DETAIL = 0.2, 2.5
# The factor by which GMSD's weight at the highest strength exceeds that at the lowest.
MORE_EDGES = 4.0
# With lessons: the share of batches that are made of them, and the weight of the amount of detail.
TAUGHT_SHARE = 0.75
LESSON_DETAIL = 0.5


@dataclass(frozen=True)
class Degrees:
    """Strength, timestep, alpha and sigma of every picture of a batch, each [N]."""

    strength: torch.Tensor
    timestep: torch.Tensor
    alpha: torch.Tensor
    sigma: torch.Tensor


class GradedLoss:
    """Draws batches with a random strength for each picture and computes the loss for that
    strength. With `lessons`, high strengths learn the teacher's redrawings.
    """

    def __init__(
        self, base: FrozenBase, photos: list[Photo], recipe: Recipe, lessons: list[Lesson]
    ) -> None:
        self._base = base
        self._photos = photos
        self._recipe = recipe
        self._lessons = lessons
        strengths = np.linspace(LOWEST, HIGHEST, DEGREES)
        steps = [single_step(base.scheduler, float(strength)) for strength in strengths]
        self._degrees = Degrees(
            torch.tensor(strengths, dtype=torch.float32),
            torch.tensor([step.timestep for step in steps]),
            torch.tensor([step.alpha for step in steps]),
            torch.tensor([step.sigma for step in steps]),
        )
        self.adversary = Adversary(recipe) if recipe.adversarial else None

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        del progress
        pairs, wanted = self._draw_pairs(random)
        degrees = self._draw(random)
        clean = pairs.clean.to(self._base.device)
        found = self._restored(self._base.encode(pairs.damaged), degrees, pairs.prompts)
        vivid = None if wanted is None else wanted.to(self._base.device)
        if self._lessons:
            loss, real = taught(found, clean, vivid, degrees.strength, self._recipe), vivid
        else:
            loss, real = weighed(found, clean, degrees.strength, self._recipe), clean
        if self.adversary is not None and real is not None:
            share = self._recipe.adversarial * degrees.strength.square()
            loss = loss + share * self.adversary(found, real)
        return loss.mean()

    def _draw_pairs(self, random: np.random.Generator) -> tuple[Pairs, torch.Tensor | None]:
        """A batch, and the teacher's redrawings of it if it is made of lessons."""
        if not self._lessons:
            return draw_pairs(self._photos, self._recipe, random), None
        if random.random() < TAUGHT_SHARE:
            return draw_lessons(self._lessons, self._recipe, random)
        return draw_shrunk_pairs(self._photos, self._recipe, random), None

    def _draw(self, random: np.random.Generator) -> Degrees:
        chosen = torch.from_numpy(random.integers(0, DEGREES, self._recipe.batch))
        # The squared error teaches most, so low strengths are drawn more often.
        lowest = torch.from_numpy(random.random(self._recipe.batch) < 0.2)
        return _rows(self._degrees, torch.where(lowest, 0, chosen), self._base.device)

    def _restored(self, source: torch.Tensor, degrees: Degrees, prompts: list[str]) -> torch.Tensor:
        alpha, sigma = degrees.alpha.view(-1, 1, 1, 1), degrees.sigma.view(-1, 1, 1, 1)
        z = alpha * source + sigma * torch.randn(source.shape).to(source.device)
        noise = self._base.noise(z, degrees.timestep, self._base.embed(prompts))
        x0 = (z - sigma * noise) / alpha
        return self._base.unfold(x0) if self._base.folds else self._base.decode(x0)


def weighed(
    found: torch.Tensor, clean: torch.Tensor, strength: torch.Tensor, recipe: Recipe
) -> torch.Tensor:
    """The loss of each picture [N] for its strength."""
    far = (strength - LOWEST) / (HIGHEST - LOWEST)
    wanted = sharpened(clean, MOST_SHARPENED * far)
    return (
        (1 - (1 - LEAST_SQUARED) * far) * picture_loss(found, wanted)
        + recipe.structure * structure_loss(found, wanted)
        + (recipe.edges + MORE_EDGES * far) * edge_loss(found, wanted)
        + (recipe.detail + (MOST_DETAIL - recipe.detail) * far) * detail_loss(found, wanted)
    )


def taught(
    found: torch.Tensor,
    clean: torch.Tensor,
    vivid: torch.Tensor | None,
    strength: torch.Tensor,
    recipe: Recipe,
) -> torch.Tensor:
    """The loss of each picture [N] for its strength, with the teacher's redrawings; pairs without
    one count for being faithful alone.
    """
    far = (strength - LOWEST) / (HIGHEST - LOWEST)
    loss = (1 - far) * compared(found, clean, recipe)
    if vivid is None:
        return loss
    return loss + far * compared(found, vivid, replace(recipe, detail=LESSON_DETAIL))


def _rows(table: Degrees, rows: torch.Tensor, device: torch.device) -> Degrees:
    return Degrees(
        table.strength[rows].to(device),
        table.timestep[rows].to(device),
        table.alpha[rows].to(device),
        table.sigma[rows].to(device),
    )
