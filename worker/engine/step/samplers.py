"""Samplers for few steps as plain coefficients: Euler, LCM, TCD and a single prediction (`once`).

Each is linear in the sample `x`, the data prediction `x0` and fresh noise `n`:

    x0 = P*x + Q*e        x' = A*x + B*x0 + N*n

Sigmas, timesteps and alphas are those of diffusers' schedulers. Sources: Karras et al. 2022,
arXiv:2206.00364 (Euler); Luo et al. 2023, arXiv:2310.04378 (latent consistency models); Zheng et
al. 2024, arXiv:2402.19159 (trajectory consistency distillation). Samples are kept at unit variance
(alpha^2 + sigma^2 = 1), while diffusers' Euler keeps x0 + sigma*e.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from diffusers import EulerDiscreteScheduler, LCMScheduler, TCDScheduler

from shared.params import executed_steps

Floats = npt.NDArray[np.float64]

# TCD's share of each step that is replaced by new noise; the paper's and diffusers' default.
ETA = 0.3
# Latent consistency models: the data's deviation and the scale of timesteps in the boundary terms.
DATA_SIGMA, TIMESTEP_SCALE = 0.5, 10.0

Level = tuple[float, float]
"""Signal and noise, alpha and sigma, with alpha^2 + sigma^2 = 1."""
Rows = list[tuple[float, Level, list[float]]]
"""For each executed step its timestep, its level, and [A, B, N]."""


def euler_rows(config: Any, steps: int, strength: float) -> Rows:
    """Euler's method on the probability flow."""
    scheduler = EulerDiscreteScheduler.from_config(config)
    scheduler.set_timesteps(steps)
    begin = steps - executed_steps(steps, strength)
    sigmas, times = scheduler.sigmas.double().numpy(), scheduler.timesteps.double().numpy()
    rows: Rows = []
    for step in range(begin, steps):
        (alpha, sigma), (next_alpha, next_sigma) = _level(sigmas[step]), _level(sigmas[step + 1])
        kept = next_sigma / sigma
        rows.append((float(times[step]), (alpha, sigma), [kept, next_alpha - kept * alpha, 0.0]))
    return rows


def lcm_rows(config: Any, steps: int, strength: float) -> Rows:
    """Latent consistency: predict the picture, add noise of the next level."""
    scheduler = LCMScheduler.from_config(config)
    times = _timesteps(scheduler, steps, strength)
    rows: Rows = []
    for index, time in enumerate(times):
        skip, out = _boundary(time)
        level = _noise_level(scheduler, time)
        is_last = index == len(times) - 1
        alpha, sigma = (1.0, 0.0) if is_last else _noise_level(scheduler, times[index + 1])
        rows.append((float(time), level, [alpha * skip, alpha * out, sigma]))
    return rows


def tcd_rows(config: Any, steps: int, strength: float) -> Rows:
    """Trajectory consistency: step to a level beyond the next one, then return by adding noise."""
    scheduler = TCDScheduler.from_config(config)
    times = _timesteps(scheduler, steps, strength)
    rows: Rows = []
    for index, time in enumerate(times):
        level = _noise_level(scheduler, time)
        is_last = index == len(times) - 1
        after = 0 if is_last else times[index + 1]
        beyond = _noise_level(scheduler, int((1 - ETA) * after))
        kept = beyond[1] / level[1]
        to_beyond = [kept, beyond[0] - kept * level[0]]
        back = _noise_level(scheduler, after)[0] / beyond[0]
        noise = max(0.0, 1 - back**2) ** 0.5
        rows.append((float(time), level, [back * to_beyond[0], back * to_beyond[1], noise]))
    return rows


def _level(noise: float) -> Level:
    """Converts diffusers' sigma, the noise beside a signal of 1, to unit variance."""
    alpha = 1 / (noise**2 + 1) ** 0.5
    return alpha, noise * alpha


def _noise_level(scheduler: Any, time: int) -> Level:
    signal = float(scheduler.alphas_cumprod[time].double())
    return signal**0.5, (1 - signal) ** 0.5


def _timesteps(scheduler: Any, steps: int, strength: float) -> list[int]:
    scheduler.set_timesteps(steps)
    return [int(time) for time in scheduler.timesteps[steps - executed_steps(steps, strength) :]]


def _boundary(time: int) -> tuple[float, float]:
    """c_skip and c_out of latent consistency models at a timestep."""
    scaled = time * TIMESTEP_SCALE
    both = scaled**2 + DATA_SIGMA**2
    return DATA_SIGMA**2 / both, scaled / both**0.5
