"""A discriminator between restored and clean pictures, and the loss that it gives to restoring.

Owns the discriminator and its optimiser. A small U-Net judges every pixel, as in Real-ESRGAN (Wang
et al. 2021, arXiv:2107.10833), with spectral normalisation and hinge losses.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from worker.training.recipe import Recipe

WIDTH = 24
RATE = 2e-4


class Adversary:
    """Call it with restored and clean pixels [N, 3, H, W] in [-1, 1]: it trains itself, then
    returns for each restored picture how clearly it is recognised [N]; gradients reach only the
    restored pixels.
    """

    def __init__(self, recipe: Recipe) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._judge = _Judge()
        self._optimiser = torch.optim.Adam(self._judge.parameters(), lr=RATE, betas=(0.5, 0.99))

    def __call__(self, found: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        self._judge.to(found.device)
        self._learn(found.detach(), clean)
        for parameter in self._judge.parameters():
            parameter.requires_grad_(False)
        told: torch.Tensor = -self._judge(found).mean((1, 2, 3))
        for parameter in self._judge.parameters():
            parameter.requires_grad_(True)
        return told

    def _learn(self, found: torch.Tensor, clean: torch.Tensor) -> None:
        verdicts = self._judge(torch.cat([found, clean]))
        restored, real = verdicts.chunk(2)
        loss = functional.relu(1 + restored).mean() + functional.relu(1 - real).mean()
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()

    def state(self) -> dict[str, Any]:
        return {"judge": self._judge.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self._judge.load_state_dict(state["judge"])
        self._optimiser.load_state_dict(state["optimiser"])


class _Judge(nn.Module):
    """Three levels; the finest has half the size, to which 2x2 pixels are folded."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(12, WIDTH, 3, padding=1)
        self.down = nn.ModuleList(
            [_layer(WIDTH, 2 * WIDTH, 4, 2), _layer(2 * WIDTH, 4 * WIDTH, 4, 2)]
        )
        self.up = nn.ModuleList(
            [_layer(4 * WIDTH, 2 * WIDTH, 3, 1), _layer(2 * WIDTH, WIDTH, 3, 1)]
        )
        self.leave = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        folded = functional.pixel_unshuffle(pixels, 2)
        fine = _bent(self.enter(folded))
        middle = _bent(self.down[0](fine))
        coarse = _bent(self.down[1](middle))
        middle = middle + _bent(self.up[0](_twice(coarse)))
        fine = fine + _bent(self.up[1](_twice(middle)))
        verdict: torch.Tensor = self.leave(fine)
        return verdict


def _layer(narrow: int, wide: int, kernel: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(narrow, wide, kernel, stride, padding=1, bias=False)
    return spectral_norm(convolution)


def _bent(values: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(values, 0.2)


def _twice(values: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(values, scale_factor=2, mode="bilinear")
