"""The training loop: optimise, average, report, save, and stop on request.

Owns the optimiser, the random generators and the step count. The task is given as a list of
parameters and a loss that draws its own batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

AVERAGE_OVER = 500
CLIP = 1.0


class Loss(Protocol):
    """Draws a batch from `random` and computes its loss; `progress` in 0..1 is the progress of the
    run.
    """

    def __call__(self, random: np.random.Generator, progress: float) -> torch.Tensor: ...


@dataclass(frozen=True)
class Schedule:
    """The number of steps and the learning rate: rising in `warmup` steps, constant for
    `constant_share`, then falling.
    """

    steps: int
    learning_rate: float
    warmup: int
    constant_share: float
    seed: int
    weight_decay: float = 0.0

    def rate(self, step: int) -> float:
        """The learning rate of a step; the last is a twentieth of the highest."""
        falling = (step / self.steps - self.constant_share) / (1 - self.constant_share)
        return self.learning_rate * min(
            1.0, (step + 1) / self.warmup, max(0.05, 1 - max(0.0, falling))
        )


@dataclass(frozen=True)
class Group:
    """Parameters of another scale than the others, with a learning rate to match."""

    parameters: list[torch.nn.Parameter]
    rate: float = 1.0


@dataclass(frozen=True)
class Progress:
    """The state of a run, reported after each step. `stage` names what precedes the run itself."""

    step: int
    steps: int
    loss: float
    stage: str = ""


class Loop:
    """One run. `state` and `restore` are exact inverses: a resumed run ends with equal bits."""

    def __init__(self, groups: list[Group], loss: Loss, schedule: Schedule) -> None:
        self.step = 0
        self.schedule = schedule
        self._groups = groups
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        self._loss = loss
        self._random = np.random.default_rng(schedule.seed)
        self._noise = torch.Generator().manual_seed(schedule.seed).get_state()
        self._optimiser = torch.optim.AdamW(
            [{"params": group.parameters} for group in groups],
            lr=schedule.learning_rate,
            betas=(0.9, 0.99),
            # Gradients of a mean over many pixels are small; the usual 1e-8 would stop Adam.
            eps=1e-12,
            weight_decay=schedule.weight_decay,
        )
        self._average = [parameter.detach().clone() for parameter in self._parameters]

    def run(self, until: int, on_step: Callable[[Progress], None]) -> None:
        """Trains up to step `until`; `on_step` may raise to stop between two steps."""
        while self.step < min(until, self.schedule.steps):
            loss = self._one_step()
            on_step(Progress(self.step, self.schedule.steps, loss))

    def _one_step(self) -> float:
        rate = self.schedule.rate(self.step)
        for group, setting in zip(self._optimiser.param_groups, self._groups, strict=True):
            group["lr"] = rate * setting.rate
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._noise)
            loss = self._loss(self._random, self.step / self.schedule.steps)
            self._noise = torch.get_rng_state()
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group_ in self._groups:
            torch.nn.utils.clip_grad_norm_(group_.parameters, CLIP)
        self._optimiser.step()
        self.step += 1
        self._blend()
        return float(loss.detach())

    @torch.no_grad()
    def _blend(self) -> None:
        kept = min(1 - 1 / AVERAGE_OVER, self.step / (self.step + 10))
        torch._foreach_lerp_(self._average, [p.detach() for p in self._parameters], 1 - kept)

    @torch.no_grad()
    def swap_average(self) -> None:
        """Exchanges weights and their running average; a second call undoes the first."""
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
    """PCG64's state with its 128-bit numbers as text, which a weights-only load accepts."""
    state = random.bit_generator.state
    return {**state, "state": {key: str(value) for key, value in state["state"].items()}}


def _from_plain(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "state": {key: int(value) for key, value in state["state"].items()}}
