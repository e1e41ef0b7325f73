"""The samplers' coefficients beside diffusers' own schedulers, step by step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, LCMScheduler, TCDScheduler

from shared.params import Sampler
from worker.engine.step.schedule import Schedule, StepPlan

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SHAPE = (1, 4, 6, 6)

Variants: list[dict[str, Any]] = [
    {},
    {"prediction_type": "v_prediction"},
    {"prediction_type": "sample"},
    {"timestep_spacing": "trailing", "steps_offset": 1},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
]
# diffusers' own predicts no sample.
OF_EULER = [variant for variant in Variants if variant.get("prediction_type") != "sample"]
STEPS = [(4, 1.0), (8, 0.5), (1, 1.0)]


def model(sample: torch.Tensor, time: float) -> torch.Tensor:
    """Something smooth that depends on both."""
    return torch.sin(3 * sample + time / 500) * 0.7 + 0.2 * sample


def noises(seed: int) -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*_: Any, **__: Any) -> torch.Tensor:
        return torch.randn(SHAPE, generator=generator, dtype=torch.float64)

    return draw


def by_coefficients(plan: StepPlan, start: torch.Tensor) -> torch.Tensor:
    sample, draw, previous = start, noises(1), torch.zeros(SHAPE, dtype=torch.float64)
    for time, (p, q, a, b, c, n) in zip(plan.timesteps, plan.table, strict=True):
        data = p * sample + q * model(sample, time)
        sample = a * sample + b * data + c * previous + (n * draw() if n else 0)
        previous = data
    return sample


def by_diffusers(scheduler: Any, steps: int, plan: StepPlan, start: torch.Tensor) -> torch.Tensor:
    scheduler.set_timesteps(steps)
    sample, times = start, scheduler.timesteps[steps - len(plan) :]
    assert plan.timesteps == pytest.approx(times.tolist())
    for time in times:
        output = model(scheduler.scale_model_input(sample, time), float(time))
        sample = scheduler.step(output, time, sample, return_dict=False)[0]
    return sample


@pytest.mark.parametrize("variant", [*OF_EULER, {"use_karras_sigmas": True}])
@pytest.mark.parametrize(("steps", "strength"), [*STEPS, (20, 0.75)])
def test_euler_is_diffusers_euler(variant: dict[str, Any], steps: int, strength: float) -> None:
    config = BETAS | variant
    plan = Schedule(config).plan(steps, strength, "euler")
    # Given the same noisy sample, which diffusers keeps beside a signal of one
    start = noises(0)()
    kept = start / plan.start[0]
    expected = by_diffusers(EulerDiscreteScheduler.from_config(config), steps, plan, kept)
    torch.testing.assert_close(by_coefficients(plan, start), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", [*Variants, {"clip_sample": True}])
@pytest.mark.parametrize(("steps", "strength"), STEPS)
@pytest.mark.parametrize(("kind", "sampler"), [(LCMScheduler, "lcm"), (TCDScheduler, "tcd")])
def test_consistency_samplers_are_those_of_diffusers(
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    sampler: Sampler,
    variant: dict[str, Any],
    steps: int,
    strength: float,
) -> None:
    draw = f"diffusers.schedulers.scheduling_{sampler}.randn_tensor"
    monkeypatch.setattr(draw, noises(1))
    config = BETAS | variant
    plan = Schedule(config).plan(steps, strength, sampler)
    start = noises(0)()
    theirs = kind.from_config(config, clip_sample=False)
    expected = by_diffusers(theirs, steps, plan, start)
    torch.testing.assert_close(by_coefficients(plan, start), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", ["euler", "lcm", "tcd"])
@pytest.mark.parametrize("strength", [0.05, 0.4, 0.8])
def test_where_there_is_no_whole_step_all_samplers_do_the_same(
    sampler: Sampler, strength: float
) -> None:
    schedule = Schedule(BETAS)
    usual, plan = schedule.plan(1, strength), schedule.plan(1, strength, sampler)
    assert (plan.timesteps, plan.start) == (usual.timesteps, usual.start)
    assert plan.table.tolist() == usual.table.tolist()


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler"])
def test_timesteps_of_distilled_models_end_where_those_are_trained(sampler: Sampler) -> None:
    # Given a checkpoint with another spacing, as SD 1.5's
    schedule = Schedule(BETAS | {"timestep_spacing": "leading", "steps_offset": 1})
    assert schedule.plan(4, 1.0, sampler).timesteps[-1] < 249
    assert schedule.plan(4, 1.0, sampler, trailing=True).timesteps == (999, 749, 499, 249)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler", "lcm", "tcd"])
def test_noise_of_no_signal_at_all_stays_finite(sampler: Sampler) -> None:
    schedule = Schedule(BETAS | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"})
    plan = schedule.plan(4, 1.0, sampler)
    assert all(abs(value) < 1e5 for row in plan.table for value in row)


def test_a_distilled_schedule_that_is_shorter_than_the_steps_is_no_failure() -> None:
    plan = Schedule(BETAS | {"original_inference_steps": 4}).plan(10, 1.0, "lcm")
    assert len(plan) == 10
