"""What a restoring UNet is trained for: the clean picture, from the sampler's own states.

Owns the roll-out and the loss. Knows nothing of photos, adapters and optimisers.

A loss on the ideal path from the damaged to the clean picture falls while the real sampler's
pictures get worse, because the sampler's states carry the network's own errors. So the states here
are the sampler's: the first steps run without gradients, the next `horizon` steps with.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from worker.training.sampler import Step, advanced, noised, predicted

Denoiser = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class Stretch:
    """Which executed steps of a run carry gradients: `horizon` of them from `first` on."""

    steps: list[Step]
    first: int
    horizon: int

    @property
    def end(self) -> int:
        return min(self.first + self.horizon, len(self.steps))


def rollout_predictions(
    denoise: Denoiser, damaged: torch.Tensor, noise: torch.Tensor, stretch: Stretch
) -> list[torch.Tensor]:
    """The clean latents predicted at each step that carries gradients.

    `damaged` and `noise` are latents [N, C, h, w]; `denoise(z, timestep)` predicts the noise.
    """
    z = noised(damaged, stretch.steps[0], noise)
    before: torch.Tensor | None = None
    predictions = []
    for index, step in enumerate(stretch.steps[: stretch.end]):
        learning = index >= stretch.first
        with torch.set_grad_enabled(learning):
            x0 = predicted(z, denoise(z, step.timestep), step)
            if learning:
                predictions.append(x0)
            z, before = advanced(z, x0, before, step), x0
    return predictions


def picture_loss(predicted_clean: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of the logarithm of each picture's squared error: minus PSNR, scaled.

    Both in [-1, 1] pixels or in latents of that size. As in NAFNet (Chen et al. 2022,
    arXiv:2204.04676): lightly and heavily damaged pictures pull equally.
    """
    error = ((predicted_clean - clean) / 2).square().mean((1, 2, 3))
    # Below 48 dB a better picture is not worth a worse one elsewhere.
    return torch.log(error + 1.5e-5).mean()
