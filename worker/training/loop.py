"""The training loop: optimise, average, report, keep, and stop when told.

Owns the optimiser, the random generators and the step count. What is learnt is given as a list of
parameters and a loss that draws its own batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from worker.training.recipe import Recipe

AVERAGE_OVER = 500
CLIP = 1.0


class Loss(Protocol):
    """Draws a batch from `random` and measures it; `progress` in 0..1 is how far the run is."""

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor: ...


@dataclass(frozen=True)
class Progress:
    """Where a run is, told after each step."""

    step: int
    steps: int
    loss: float


class Loop:
    """One run. `state` and `restore` undo each other exactly: a resumed run ends in equal bits."""

    def __init__(self, parameters: list[torch.nn.Parameter], loss: Loss, recipe: Recipe) -> None:
        self.step = 0
        self._parameters = parameters
        self._loss = loss
        self._recipe = recipe
        self._random = np.random.default_rng(recipe.seed)
        self._noise = torch.Generator().manual_seed(recipe.seed).get_state()
        self._optimiser = torch.optim.AdamW(
            parameters, lr=recipe.learning_rate, betas=(0.9, 0.99), eps=1e-12, weight_decay=0
        )
        self._average = [parameter.detach().clone() for parameter in parameters]

    def run(self, until: int, on_step: Callable[[Progress], None]) -> None:
        """Train up to step `until`; `on_step` may raise to stop between two steps."""
        while self.step < min(until, self._recipe.steps):
            loss = self._one_step()
            on_step(Progress(self.step, self._recipe.steps, loss))

    def _one_step(self) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._noise)
            loss = self._loss(self._random, self.step / self._recipe.steps)
            self._noise = torch.get_rng_state()
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
        self._optimiser.step()
        self.step += 1
        self._blend()
        return float(loss.detach())

    def _rate(self) -> float:
        """Up, level, then straight down to a twentieth."""
        recipe = self._recipe
        falling = (self.step / recipe.steps - recipe.constant_share) / (1 - recipe.constant_share)
        return recipe.learning_rate * min(
            1.0, (self.step + 1) / recipe.warmup, max(0.05, 1 - max(0.0, falling))
        )

    @torch.no_grad()
    def _blend(self) -> None:
        kept = min(1 - 1 / AVERAGE_OVER, self.step / (self.step + 10))
        torch._foreach_lerp_(self._average, [p.detach() for p in self._parameters], 1 - kept)

    @torch.no_grad()
    def swap_average(self) -> None:
        """Exchange weights and their running average; a second call undoes the first."""
        for parameter, average in zip(self._parameters, self._average, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "parameters": [parameter.detach() for parameter in self._parameters],
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
            "noise": self._noise,
            "random": _plain(self._random),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for parameter, saved in zip(self._parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
        self._average = [tensor.clone() for tensor in state["average"]]
        self._optimiser.load_state_dict(state["optimiser"])
        self._noise = state["noise"]
        self._random.bit_generator.state = _from_plain(state["random"])


def _plain(random: np.random.Generator) -> dict[str, Any]:
    """PCG64's state with its 128-bit numbers as text, which a weights-only load lets through."""
    state = random.bit_generator.state
    return {**state, "state": {key: str(value) for key, value in state["state"].items()}}


def _from_plain(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "state": {key: int(value) for key, value in state["state"].items()}}
