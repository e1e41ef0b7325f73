"""The training objective of the enlarger: the larger picture, with its edges and finest detail.

Owns the weights of the losses and the discriminator. Knows nothing of optimisers and files.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from worker.engine.upscale.networks import FoldedNet
from worker.training.objective import edge_loss
from worker.training.photos import Photo
from worker.training.upscaler.examples import Batch, draw_batch
from worker.training.upscaler.recipe import Stage
from worker.training.upscaler.teacher import Answer, draw_answers

SMALL = 1e-6


class Discriminator(nn.Module):
    """Distinguishes generated pictures [N, 3, H, W] from real ones, patch by patch (as in
    pix2pix).
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            normed(nn.Conv2d(width, 2 * width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            normed(nn.Conv2d(2 * width, 2 * width, 3, 1, 1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, 1, 1),
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        judged: torch.Tensor = self.layers(pictures)
        return judged


@dataclass(frozen=True)
class Examples:
    """What was made before the training: a teacher's outputs, and photos as LoRAs leave them."""

    taught: list[Answer]
    treated: list[Answer]


class UpscalingLoss:
    """Draws a batch of all kinds of examples and computes the loss of both factors."""

    def __init__(
        self,
        network: FoldedNet,
        discriminator: Discriminator,
        photos: list[Photo],
        examples: Examples,
        stage: Stage,
    ) -> None:
        self._network = network
        self._discriminator = discriminator
        self._photos = photos
        self._examples = examples
        self._stage = stage

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor:
        del progress
        batch = self.draw(random)
        pictures = batch.small.add(1).div(2).contiguous(memory_format=torch.channels_last)
        drawn = {f: d * 2 - 1 for f, d in self._network.enlarge_all(pictures).items()}
        loss = sum((self._compare(drawn[f], batch.targets[f]) for f in drawn), torch.tensor(0.0))
        if self._stage.adversarial:
            loss = loss + self._contest(drawn[2], batch.targets[2])
        return loss

    def draw(self, random: np.random.Generator) -> Batch:
        """One batch of examples, in the stage's shares."""
        stage, examples = self._stage, self._examples
        taught = round(stage.batch * stage.teacher_share)
        treated = round(stage.batch * stage.treated_share)
        parts = []
        if (plain := stage.batch - taught - treated) > 0:
            parts.append(draw_batch(self._photos, plain, stage.crop, random))
        if taught:
            parts.append(draw_answers(examples.taught, taught, stage.crop, random))
        if treated:
            parts.append(draw_answers(examples.treated, treated, stage.crop, random))
        targets = {f: torch.cat([part.targets[f] for part in parts]) for f in parts[0].targets}
        return Batch(torch.cat([part.small for part in parts]), targets)

    def _compare(self, drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = charbonnier(drawn - target)
        if weight := self._stage.fine:
            loss = loss + weight * charbonnier(high_pass(drawn - target))
        if weight := self._stage.edges:
            loss = loss + weight * edge_loss(drawn, target).mean()
        return loss

    def _contest(self, drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Both sides of a relativistic discriminator loss in one sum; each side's gradients reach
        only that side.
        """
        judge = self._discriminator
        learning = functional.softplus(judge(drawn.detach()) - judge(target)).mean()
        fixed = {name: value.detach() for name, value in judge.named_parameters()}
        seen = torch.func.functional_call(judge, fixed, (drawn,))
        with torch.no_grad():
            wanted = judge(target)
        fooling = functional.softplus(wanted - seen).mean()
        return learning + self._stage.adversarial * fooling


def charbonnier(error: torch.Tensor) -> torch.Tensor:
    """The absolute error of pixels in [-1, 1], smooth at zero."""
    return (error.square() + SMALL).sqrt().mean()


def high_pass(pictures: torch.Tensor) -> torch.Tensor:
    """Minus the mean around each pixel: detail finer than three pixels."""
    return pictures - functional.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)
