"""A picture's random numbers, all from one seed and in diffusers' order.

Owns the draws. The plan (schedule.py) decides which step needs noise, and how much.
"""

from dataclasses import dataclass

import torch
from diffusers.utils.torch_utils import randn_tensor


@dataclass(frozen=True)
class Draws:
    """The initial random numbers: the posterior's sample, if there is one, and the noise."""

    posterior: torch.Tensor | None
    noise: torch.Tensor

    def at(self, place: tuple[slice, slice]) -> "Draws":
        """A window's part."""
        posterior = self.posterior[(..., *place)] if self.posterior is not None else None
        return Draws(posterior, self.noise[(..., *place)])


class StepNoise:
    """The noise that stochastic samplers add after their steps, [1, C, h, w], on the CPU.

    `generator` continues after the picture's first noise. A step that is repeated, after the device
    ran out of memory, gets the same noise.
    """

    def __init__(self, generator: torch.Generator, shape: torch.Size, dtype: torch.dtype) -> None:
        self._generator, self._shape, self._dtype = generator, shape, dtype
        self._drawn: tuple[int, torch.Tensor] | None = None

    def at(self, step: int) -> torch.Tensor:
        """The noise after a step. Every step except the last has its own."""
        if self._drawn is None or self._drawn[0] != step:
            noise = randn_tensor(self._shape, generator=self._generator, dtype=self._dtype)
            self._drawn = (step, noise)
        return self._drawn[1]
