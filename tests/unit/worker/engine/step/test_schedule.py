"""The coefficients against diffusers' own scheduler, step by step."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from shared.params import executed_steps
from worker.engine.step.schedule import Schedule, UnsupportedSchedule

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CONFIGS = {
    "sd15": BETAS | {"steps_offset": 1, "timestep_spacing": "leading"},
    "v_prediction": BETAS | {"prediction_type": "v_prediction"},
    "karras": BETAS | {"use_karras_sigmas": True},
    "trailing": BETAS | {"timestep_spacing": "trailing"},
    "sigma_min": BETAS | {"final_sigmas_type": "sigma_min"},
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("steps", [1, 2, 4, 10, 14, 15, 20, 50])
@pytest.mark.parametrize("strength", [0.05, 0.3, 0.4, 0.75, 1.0])
def test_every_step_is_what_diffusers_makes_of_it(name: str, steps: int, strength: float) -> None:
    # Given diffusers' scheduler at the first executed step, and outputs of some model
    scheduler = DPMSolverMultistepScheduler.from_config(CONFIGS[name])
    scheduler.set_timesteps(steps)
    begin = steps - executed_steps(steps, strength)
    scheduler.set_begin_index(begin)
    plan = Schedule(CONFIGS[name]).plan(steps, strength)
    generator = torch.Generator().manual_seed(steps)
    clean, noise = (torch.randn(2, 3, generator=generator) for _ in range(2))
    # When both start from the same noise
    theirs = scheduler.add_noise(clean, noise, scheduler.timesteps[begin : begin + 1].repeat(2))
    ours = plan.start[0] * clean + plan.start[1] * noise
    torch.testing.assert_close(ours, theirs)
    # Then every step leads to the same sample
    previous = torch.zeros_like(ours)
    assert plan.timesteps == tuple(scheduler.timesteps[begin:].tolist())
    for timestep, (p, q, a, b, c) in zip(plan.timesteps, plan.table, strict=True):
        output = torch.randn(2, 3, generator=generator)
        theirs = scheduler.step(output, timestep, theirs, return_dict=False)[0]
        x0 = p * ours + q * output
        ours, previous = a * ours + b * x0 + c * previous, x0
        torch.testing.assert_close(ours.float(), theirs, atol=1e-4, rtol=1e-4)


def test_what_the_coefficients_cannot_express_is_refused() -> None:
    with pytest.raises(UnsupportedSchedule):
        Schedule(BETAS | {"algorithm_type": "sde-dpmsolver++"})
    with pytest.raises(UnsupportedSchedule):
        Schedule(BETAS | {"thresholding": True})
