"""The service's own sampler as differentiable arithmetic: DPM-Solver++ (2M) from a noised picture.

Owns the coefficients of one image-to-image run. Knows nothing of networks.

Lu et al. 2022, arXiv:2211.01095, data prediction; the numbers are those of diffusers'
DPMSolverMultistepScheduler: first order in the first and the last executed step.
"""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Step:
    """One executed step: x0 = (z - sigma eps) / alpha, then z' = a z + b x0 + c x0_before."""

    timestep: int
    alpha: float
    sigma: float
    a: float
    b: float
    c: float


def executed_steps(scheduler: Any, steps: int, strength: float) -> list[Step]:
    """The steps that image-to-image really executes: the last `int(steps * strength)`.

    If that is zero, one step from the strength's own position in the schedule.
    """
    count = min(int(steps * strength), steps)
    if count == 0:
        return [single_step(scheduler, strength)]
    scheduler.set_timesteps(steps)
    timesteps = [int(t) for t in scheduler.timesteps[-count:]]
    sigmas = [float(s) for s in scheduler.sigmas[-count - 1 :]]
    return [_step(timesteps[index], sigmas, index) for index in range(count)]


def single_step(scheduler: Any, strength: float) -> Step:
    """One step from the position of `strength` in the schedule to its end."""
    timestep = round(strength * (len(scheduler.alphas_cumprod) - 1))
    signal = float(scheduler.alphas_cumprod[timestep])
    return _step(timestep, [((1 - signal) / signal) ** 0.5, 0.0], 0)


def _step(timestep: int, sigmas: list[float], index: int) -> Step:
    now, then = sigmas[index], sigmas[index + 1]
    alpha, alpha_then = _alpha(now), _alpha(then)
    # 1 - exp(-h), for the step h in the logarithm of the signal-to-noise ratio
    reach = 1 - then / now
    a = then * alpha_then / (now * alpha)
    b, c = alpha_then * reach, 0.0
    if 0 < index < len(sigmas) - 2:
        slope = _second_order(sigmas[index - 1], now, then)
        b, c = b * (1 + slope), -b * slope
    return Step(timestep, alpha, now * alpha, a, b, c)


def _alpha(ratio: float) -> float:
    return float((1 + ratio**2) ** -0.5)


def _second_order(before: float, now: float, then: float) -> float:
    """1 / (2 r), with r the last step divided by this one, both in log SNR."""
    last, this = torch.tensor([before / now, now / then], dtype=torch.float64).log().tolist()
    return float(0.5 * this / last)


def noised(latents: torch.Tensor, step: Step, noise: torch.Tensor) -> torch.Tensor:
    """The initial state of a run that begins at `step`."""
    return step.alpha * latents + step.sigma * noise


def predicted(z: torch.Tensor, epsilon: torch.Tensor, step: Step) -> torch.Tensor:
    """The clean latents that follow from a predicted noise."""
    return (z - step.sigma * epsilon) / step.alpha


def advanced(
    z: torch.Tensor, x0: torch.Tensor, before: torch.Tensor | None, step: Step
) -> torch.Tensor:
    """The initial state of the next step."""
    following = step.a * z + step.b * x0
    return following if before is None or step.c == 0 else following + step.c * before
