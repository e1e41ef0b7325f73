"""diffusers' scheduler for each sampler, configured like a checkpoint's own scheduler.

Owns which class belongs to which name. diffusers owns what a scheduler does.
"""

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)

from shared.params import DEFAULT_TIMESTEP, Sampler

SCHEDULERS: dict[Sampler, Any] = {
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "lcm": LCMScheduler,
    "tcd": TCDScheduler,
}
# TCD's share of the step that is noise again; the paper's and diffusers' default.
TCD_ETA = 0.3


# The smallest signal by which a prediction of noise is divided, as in diffusers (2^-24 in squares).
LEAST_ALPHA = 2.0**-12


class OnceScheduler(DDIMScheduler):  # type: ignore[misc]
    """A single prediction without noise, in the form of diffusers' schedulers."""

    timestep, strength, difference = DEFAULT_TIMESTEP, 1.0, False

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """One step, whatever is requested."""
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.tensor([self.timestep], device=device)

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Does nothing."""
        del noise, timesteps
        return original_samples

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor]:
        """Moves the sample by `strength` towards the prediction."""
        signal = float(self.alphas_cumprod[int(timestep)].double())
        kind = str(self.config.prediction_type)
        p, q = data_prediction(kind, signal**0.5, (1 - signal) ** 0.5)
        if self.difference:
            p, q = 1.0, -1.0
        return (sample + self.strength * (p * sample + q * model_output - sample),)


def make_once(
    config: Any, timestep: int, strength: float, difference: bool = False
) -> OnceScheduler:
    """The scheduler of `once` for a checkpoint's configuration."""
    made: OnceScheduler = OnceScheduler.from_config(config)
    made.timestep, made.strength, made.difference = timestep, strength, difference
    return made


def data_prediction(kind: str, alpha: float, sigma: float) -> tuple[float, float]:
    """P and Q of `x0 = P*x + Q*e` for the kind of prediction."""
    if kind == "epsilon":
        alpha = max(alpha, LEAST_ALPHA)
        return 1 / alpha, -sigma / alpha
    if kind == "v_prediction":
        return alpha, -sigma
    return 0.0, 1.0


def make_scheduler(config: Any, sampler: Sampler, trailing: bool = False) -> Any:
    """A scheduler with the checkpoint's betas and prediction type. `trailing` is the spacing of
    timesteps with which few-step models are distilled, instead of the checkpoint's own.
    """
    # Latents are unbounded, whatever a pixel model's configuration says.
    known: dict[str, Any] = {} if sampler in ("dpmpp_2m", "euler") else {"clip_sample": False}
    if trailing and sampler in ("dpmpp_2m", "euler"):
        known["timestep_spacing"] = "trailing"
    return SCHEDULERS[sampler].from_config(config, **known)
