"""A base that is settled on one noise level."""

from typing import Any

import pytest
import torch

from worker.engine.step.schedule import Schedule
from worker.training.base.network import build_scheduler, build_unet
from worker.training.base.settling import settle_time, settled_scheduler

TIMESTEP, MOST = 100, 0.4


@pytest.fixture
def unet() -> Any:
    torch.manual_seed(0)
    built = build_unet((8, 16), 1.0)
    torch.nn.init.normal_(built.conv_out.weight)
    return built.eval()


@torch.no_grad()
def answer(unet: Any, timestep: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 12, 16, 16, generator=generator) * 50
    words = torch.randn(1, 4, 64, generator=generator)
    found: torch.Tensor = unet(latents, timestep, words).sample
    return found


def test_a_settled_unet_answers_everywhere_as_it_did_at_one_timestep(unet: Any) -> None:
    # Given a UNet that minds the time
    there, elsewhere = answer(unet, TIMESTEP), answer(unet, 700)
    assert not torch.allclose(there, elsewhere, atol=1e-3)

    settle_time(unet, TIMESTEP)

    for timestep in (0, TIMESTEP, 700, 999):
        assert torch.allclose(answer(unet, timestep), there, atol=1e-5)


def test_the_noise_of_a_settled_schedule_begins_as_before_and_stays_near() -> None:
    usual = build_scheduler()
    settled = Schedule(settled_scheduler(usual, TIMESTEP, MOST).config)

    gentle, full = settled.plan(10, 0.1).start, settled.plan(10, 1.0).start

    expected = Schedule(usual.config).plan(10, 0.1).start
    assert gentle == pytest.approx(expected, rel=1e-4)
    assert full[1] / full[0] == pytest.approx(MOST, rel=1e-3)


def test_every_step_of_a_settled_run_has_nearly_the_same_noise() -> None:
    """A network that sees one level would overshoot on a schedule that ends elsewhere."""
    settled = Schedule(settled_scheduler(build_scheduler(), TIMESTEP, MOST).config)
    for steps, strength in ((10, 0.1), (10, 0.4), (10, 1.0), (50, 0.1), (3, 0.4)):
        for alpha_inverse, q, *_ in settled.plan(steps, strength).table:
            assert 0.28 < -q < MOST + 1e-3
            assert 1 < alpha_inverse < 1.1


def test_a_schedule_cannot_fall_while_noise_rises() -> None:
    with pytest.raises(ValueError, match="must be above"):
        settled_scheduler(build_scheduler(), TIMESTEP, 0.2)
