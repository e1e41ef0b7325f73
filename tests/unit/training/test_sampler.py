"""The differentiable sampler against diffusers' own."""

import pytest
import torch

from worker.engine.step.schedule import Schedule
from worker.training.base.network import build_scheduler
from worker.training.sampler import advanced, executed_steps, noised, predicted


def guess(z: torch.Tensor) -> torch.Tensor:
    return torch.sin(z * 3)


@pytest.mark.parametrize(
    ("steps", "strength"), [(10, 0.4), (20, 0.4), (10, 0.2), (30, 0.7), (10, 1.0), (4, 0.3)]
)
def test_it_takes_the_steps_of_diffusers(steps: int, strength: float) -> None:
    scheduler = build_scheduler()
    plan = executed_steps(scheduler, steps, strength)
    z = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(steps - len(plan))

    theirs, ours, before = z.clone(), z.clone(), None
    for timestep, step in zip(scheduler.timesteps[-len(plan) :], plan, strict=True):
        assert int(timestep) == step.timestep
        theirs = scheduler.step(guess(theirs), timestep, theirs).prev_sample
        x0 = predicted(ours, guess(ours), step)
        ours, before = advanced(ours, x0, before, step), x0

    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_it_starts_where_diffusers_starts() -> None:
    scheduler = build_scheduler()
    first = executed_steps(scheduler, 10, 0.4)[0]
    latents, noise = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(6)
    theirs = scheduler.add_noise(latents, noise, scheduler.timesteps[6:7])
    torch.testing.assert_close(noised(latents, first, noise), theirs)


@pytest.mark.parametrize(("steps", "strength"), [(10, 0.05), (1, 0.4), (1, 0.73)])
def test_below_one_step_it_takes_the_engine_s_single_one(steps: int, strength: float) -> None:
    scheduler = build_scheduler()
    (step,) = executed_steps(scheduler, steps, strength)
    plan = Schedule(scheduler.config).plan(steps, strength)
    p, q, a, b, c, _ = plan.table[0]
    assert (step.timestep,) == plan.timesteps
    assert (step.alpha, step.sigma) == pytest.approx(plan.start)
    assert (step.a, step.b, step.c) == pytest.approx((a, b, c))
    assert (1 / step.alpha, -step.sigma / step.alpha) == pytest.approx((p, q))
