"""Samplers as plain coefficients, so that rows with different samplers and steps share a UNet call.

Each is linear in the sample `x`, the data prediction `x0`, that of the step before, and fresh noise
`n`, all at unit variance (alpha^2 + sigma^2 = 1):

    x' = A*x + B*x0 + C*x0_previous + N*n

Sigmas, timesteps and alphas are those of diffusers' schedulers. Sources: Lu et al. 2022,
arXiv:2211.01095 (DPM-Solver++); Karras et al. 2022, arXiv:2206.00364 (Euler); Luo et al. 2023,
arXiv:2310.04378 (latent consistency models); Zheng et al. 2024, arXiv:2402.19159 (trajectory
consistency distillation).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from shared.params import Sampler, executed_steps
from worker.engine.base.schedulers import TCD_ETA

# With fewer steps diffusers makes the last step of DPM-Solver++ first order, for stability.
FEW_STEPS = 15
# Latent consistency models: the data's deviation and the scale of timesteps in the boundary terms.
DATA_SIGMA, TIMESTEP_SCALE = 0.5, 10.0


class Level(NamedTuple):
    """The shares of signal and noise in a sample, with alpha^2 + sigma^2 = 1."""

    alpha: float
    sigma: float


CLEAN = Level(1.0, 0.0)


class Step(NamedTuple):
    """One executed step: the UNet's timestep, the sample's level, and A, B, C, N."""

    timestep: float
    level: Level
    update: tuple[float, float, float, float]


def dpmpp_2m_steps(scheduler: Any, steps: int, strength: float) -> list[Step]:
    """DPM-Solver++ (2M) with data prediction; the first executed step is of first order."""
    times, levels = _leveled(scheduler, steps, strength)
    is_short = steps < FEW_STEPS or levels[-1].sigma == 0
    made = []
    for index, time in enumerate(times):
        here, after = levels[index : index + 2]
        kept, growth = _first_order(here, after)
        is_last = index == len(times) - 1
        ratio = 0.0
        if index > 0 and not (is_last and is_short):
            ratio = _half_steps(levels[index - 1], here, after)
        made.append(Step(time, here, (kept, growth * (1 + ratio), -growth * ratio, 0.0)))
    return made


def euler_steps(scheduler: Any, steps: int, strength: float) -> list[Step]:
    """Euler's method on the probability flow."""
    times, levels = _leveled(scheduler, steps, strength)
    return [
        Step(time, here, (*_first_order(here, after), 0.0, 0.0))
        for time, (here, after) in zip(times, pairwise(levels), strict=True)
    ]


def lcm_steps(scheduler: Any, steps: int, strength: float) -> list[Step]:
    """Latent consistency: predict the picture, add noise of the next level."""
    times = _distilled_times(scheduler, steps, strength)
    levels = [*(_level_at(scheduler, time) for time in times), CLEAN]
    made = []
    for time, (here, after) in zip(times, pairwise(levels), strict=True):
        skip, out = _boundary(time)
        made.append(Step(time, here, (after.alpha * skip, after.alpha * out, 0.0, after.sigma)))
    return made


def tcd_steps(scheduler: Any, steps: int, strength: float) -> list[Step]:
    """Trajectory consistency: go to a level beyond the next one, then back by noise."""
    times = _distilled_times(scheduler, steps, strength)
    made = []
    for time, after in pairwise([*times, 0]):
        here, beyond = _level_at(scheduler, time), _level_at(scheduler, int((1 - TCD_ETA) * after))
        kept, growth = _first_order(here, beyond)
        back = _level_at(scheduler, after).alpha / beyond.alpha
        noise = max(0.0, 1 - back**2) ** 0.5
        made.append(Step(time, here, (back * kept, back * growth, 0.0, noise)))
    return made


STEPS: dict[Sampler, Callable[[Any, int, float], list[Step]]] = {
    "dpmpp_2m": dpmpp_2m_steps,
    "euler": euler_steps,
    "lcm": lcm_steps,
    "tcd": tcd_steps,
}


def _leveled(scheduler: Any, steps: int, strength: float) -> tuple[list[float], list[Level]]:
    """The executed timesteps, their levels, and the level after the last."""
    scheduler.set_timesteps(steps)
    begin = steps - executed_steps(steps, strength)
    noises = scheduler.sigmas.double().numpy()[begin:]
    alphas = 1 / np.sqrt(noises**2 + 1)
    levels = [Level(float(a), float(a * n)) for a, n in zip(alphas, noises, strict=True)]
    return scheduler.timesteps[begin:].double().tolist(), levels


def _distilled_times(scheduler: Any, steps: int, strength: float) -> list[int]:
    """The executed timesteps among those with which consistency models are distilled."""
    if scheduler.config.original_inference_steps < steps:
        scheduler.register_to_config(original_inference_steps=steps)
    scheduler.set_timesteps(steps)
    return [int(time) for time in scheduler.timesteps[steps - executed_steps(steps, strength) :]]


def _level_at(scheduler: Any, time: int) -> Level:
    signal = float(scheduler.alphas_cumprod[time].double())
    return Level(signal**0.5, (1 - signal) ** 0.5)


def _first_order(here: Level, after: Level) -> tuple[float, float]:
    """A and B that move along the predicted noise from one level to another."""
    kept = after.sigma / here.sigma
    return kept, after.alpha - here.alpha * kept  # = -alpha' (e^-h - 1)


def _half_steps(before: Level, here: Level, after: Level) -> float:
    """1 / (2 r0), with r0 the quotient of the last two steps in log-SNR."""
    first, second, third = (np.log(level.alpha / level.sigma) for level in (before, here, after))
    return float(0.5 * (third - second) / (second - first))


def _boundary(time: int) -> tuple[float, float]:
    """c_skip and c_out of latent consistency models at a timestep."""
    scaled = time * TIMESTEP_SCALE
    both = scaled**2 + DATA_SIGMA**2
    return DATA_SIGMA**2 / both, scaled / both**0.5
