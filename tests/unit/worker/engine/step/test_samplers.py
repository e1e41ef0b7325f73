"""The samplers' coefficients beside diffusers' own schedulers, step by step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, LCMScheduler, TCDScheduler

from worker.engine.step import samplers
from worker.engine.step.samplers import Rows

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SHAPE = (1, 4, 6, 6)

Variants = [
    {},
    {"prediction_type": "v_prediction"},
    {"timestep_spacing": "trailing", "steps_offset": 1},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
]


def model(sample: torch.Tensor, time: float) -> torch.Tensor:
    """Something smooth that depends on both."""
    return torch.sin(3 * sample + time / 500) * 0.7 + 0.2 * sample


def noises(seed: int) -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*_: Any, **__: Any) -> torch.Tensor:
        return torch.randn(SHAPE, generator=generator, dtype=torch.float64)

    return draw


def by_coefficients(rows: Rows, prediction: str, start: torch.Tensor) -> torch.Tensor:
    sample, draw = start, noises(1)
    for time, (alpha, sigma), (kept, data, noise) in rows:
        output = model(sample, time)
        if prediction == "v_prediction":
            clean = alpha * sample - sigma * output
        else:
            clean = (sample - sigma * output) / alpha
        sample = kept * sample + data * clean + (noise * draw() if noise else 0)
    return sample


def by_diffusers(scheduler: Any, steps: int, begin: int, start: torch.Tensor) -> torch.Tensor:
    scheduler.set_timesteps(steps)
    sample = start
    for time in scheduler.timesteps[begin:]:
        output = model(scheduler.scale_model_input(sample, time), float(time))
        sample = scheduler.step(output, time, sample, return_dict=False)[0]
    return sample


@pytest.mark.parametrize("variant", [*Variants, {"use_karras_sigmas": True}])
@pytest.mark.parametrize(("steps", "strength"), [(10, 0.4), (4, 1.0), (20, 0.75), (1, 1.0)])
def test_euler_is_diffusers_euler(variant: dict[str, Any], steps: int, strength: float) -> None:
    config = BETAS | variant
    rows = samplers.euler_rows(config, steps, strength)
    # Given the same noisy sample, which diffusers keeps beside a signal of one
    alpha = rows[0][1][0]
    start = noises(0)()
    expected = by_diffusers(
        EulerDiscreteScheduler.from_config(config), steps, steps - len(rows), start / alpha
    )
    made = by_coefficients(rows, variant.get("prediction_type", "epsilon"), start)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", Variants)
@pytest.mark.parametrize(("steps", "strength"), [(4, 1.0), (8, 0.5), (2, 1.0), (1, 1.0)])
@pytest.mark.parametrize(
    ("kind", "rows_of", "module"),
    [(LCMScheduler, samplers.lcm_rows, "lcm"), (TCDScheduler, samplers.tcd_rows, "tcd")],
)
def test_consistency_samplers_are_those_of_diffusers(
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    rows_of: Callable[..., Rows],
    module: str,
    variant: dict[str, Any],
    steps: int,
    strength: float,
) -> None:
    draw = f"diffusers.schedulers.scheduling_{module}.randn_tensor"
    monkeypatch.setattr(draw, noises(1))
    config = BETAS | variant
    rows = rows_of(config, steps, strength)
    start = noises(0)()
    expected = by_diffusers(kind.from_config(config), steps, steps - len(rows), start)
    made = by_coefficients(rows, variant.get("prediction_type", "epsilon"), start)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
