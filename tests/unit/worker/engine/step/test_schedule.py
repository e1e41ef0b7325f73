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

# Below one, diffusers has no step at all.
WITH_STEPS = [
    (steps, strength)
    for steps in (1, 2, 4, 10, 14, 15, 20, 50)
    for strength in (0.05, 0.3, 0.4, 0.75, 1.0)
    if int(steps * strength) > 0
]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("steps", "strength"), WITH_STEPS)
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
    for timestep, (p, q, a, b, c, n) in zip(plan.timesteps, plan.table, strict=True):
        output = torch.randn(2, 3, generator=generator)
        theirs = scheduler.step(output, timestep, theirs, return_dict=False)[0]
        x0 = p * ours + q * output
        ours, previous = a * ours + b * x0 + c * previous, x0
        torch.testing.assert_close(ours.float(), theirs, atol=1e-4, rtol=1e-4)
        assert n == 0


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("strength", [0.05, 0.4, 0.77])
def test_where_diffusers_has_no_step_one_begins_at_the_strength_itself(
    name: str, strength: float
) -> None:
    scheduler = DPMSolverMultistepScheduler.from_config(CONFIGS[name])
    timestep = round(strength * 999)
    signal = float(scheduler.alphas_cumprod[timestep])
    plan = Schedule(CONFIGS[name]).plan(1, strength)
    assert plan.timesteps == (timestep,)
    assert plan.start == pytest.approx((signal**0.5, (1 - signal) ** 0.5))
    # Given the right answer, the one step is the clean picture.
    (p, q, a, b, c, n) = plan.table[0]
    clean, noise = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).double()
    z = plan.start[0] * clean + plan.start[1] * noise
    velocity = plan.start[0] * noise - plan.start[1] * clean
    output = velocity if "v_prediction" in CONFIGS[name].values() else noise
    torch.testing.assert_close(a * z + b * (p * z + q * output), clean, atol=1e-5, rtol=1e-5)
    assert (c, n) == (0, 0)


def test_a_single_step_s_start_moves_with_the_strength() -> None:
    schedule = Schedule(BETAS)
    sigmas = [schedule.plan(1, strength).start[1] for strength in (0.05, 0.06, 0.3, 0.5, 0.9, 1.0)]
    assert sigmas == sorted(set(sigmas))


def test_what_the_coefficients_cannot_express_is_refused() -> None:
    with pytest.raises(UnsupportedSchedule):
        Schedule(BETAS | {"algorithm_type": "sde-dpmsolver++"})
    with pytest.raises(UnsupportedSchedule):
        Schedule(BETAS | {"thresholding": True})
