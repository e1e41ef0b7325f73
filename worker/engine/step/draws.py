"""What is random about a picture, all of it from one seed and in diffusers' order.

Owns the draws. Which step wants noise, and how much, is the plan's business (schedule.py).
"""

from dataclasses import dataclass

import torch
from diffusers.utils.torch_utils import randn_tensor


@dataclass(frozen=True)
class Draws:
    """What a picture begins with: the posterior's sample, where there is one, and the noise."""

    posterior: torch.Tensor | None
    noise: torch.Tensor

    def at(self, place: tuple[slice, slice]) -> "Draws":
        """A window's part."""
        posterior = self.posterior[(..., *place)] if self.posterior is not None else None
        return Draws(posterior, self.noise[(..., *place)])


class StepNoise:
    """What stochastic samplers add after their steps, [1, C, h, w], on the CPU.

    `generator` goes on where the picture's first noise ended. A step that is done again, after the
    device had no memory, gets the same noise.
    """

    def __init__(self, generator: torch.Generator, shape: torch.Size, dtype: torch.dtype) -> None:
        self._generator, self._shape, self._dtype = generator, shape, dtype
        self._drawn: tuple[int, torch.Tensor] | None = None

    def at(self, step: int) -> torch.Tensor:
        """The noise after a step. Every step before the last has its own: steps only go on."""
        if self._drawn is None or self._drawn[0] != step:
            noise = randn_tensor(self._shape, generator=self._generator, dtype=self._dtype)
            self._drawn = (step, noise)
        return self._drawn[1]
