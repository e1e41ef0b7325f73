"""The guard of the base's weights: it sees every change of a bit, and none where there is none."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.engine_jobs import Loras, make_job, run_all, start_engine
from tests.support.wait import wait_until
from worker.engine.base import weights_guard
from worker.engine.base.device_lost import DeviceLost
from worker.engine.base.weights_guard import PICTURES, ROUND_SECONDS, WeightsGuard
from worker.engine.lora.lora_file import AdapterWeights, LowRank
from worker.engine.lora.merging import WeightMerger
from worker.engine.step.step_engine import StepEngine


@pytest.fixture
def pipeline() -> Any:
    torch.manual_seed(0)
    layers = {
        "linear": torch.nn.Linear(6, 5),
        "conv": torch.nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last),
        "narrow": torch.nn.Linear(4, 4).half(),
        "odd": torch.nn.Linear(3, 1, bias=False).half(),
    }
    return SimpleNamespace(unet=torch.nn.ModuleDict(layers), text_encoder=None, vae=None)


def whole_round(guard: WeightsGuard) -> str | None:
    """The first complaint of a round, if there is one."""
    rounds, found = guard.rounds, None
    while guard.rounds == rounds:
        found = found or guard.look()
    return found


def untouched(_name: tuple[str, str]) -> None:
    return None


@pytest.mark.parametrize("small_slices", [False, True])
def test_an_untouched_base_is_never_complained_of(
    pipeline: Any, small_slices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small_slices:
        monkeypatch.setattr(weights_guard, "SLICE_BYTES", 1)
    guard = WeightsGuard(pipeline, untouched)

    assert [whole_round(guard) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize(
    "name", ["linear.weight", "linear.bias", "conv.weight", "narrow.weight", "odd.weight"]
)
def test_the_last_bit_of_one_weight_is_seen(pipeline: Any, name: str) -> None:
    guard = WeightsGuard(pipeline, untouched)
    weight = dict(pipeline.unet.named_parameters())[name].data
    one = weight[(-1,) * weight.dim()]
    integer = torch.int16 if weight.dtype is torch.float16 else torch.int32

    one.view(integer).bitwise_xor_(1)
    assert whole_round(guard) == f"unet.{name}"

    one.view(integer).bitwise_xor_(1)
    assert whole_round(guard) is None


def test_a_weight_that_becomes_no_number_is_seen(pipeline: Any) -> None:
    guard = WeightsGuard(pipeline, untouched)

    pipeline.unet["linear"].weight.data[0, 0] = float("nan")

    assert whole_round(guard) == "unet.linear.weight"


@pytest.mark.parametrize("rewrites", [False, True])
def test_a_merged_lora_is_no_change_and_one_that_bleeds_is(pipeline: Any, rewrites: bool) -> None:
    merger = WeightMerger(pipeline, 2**20, rewrites)
    guard = WeightsGuard(pipeline, merger.pristine)
    pair = LowRank(torch.ones(1, 6), torch.ones(5, 1), 1.0)
    lora = AdapterWeights("some", {"unet": {"linear": pair}})

    merger.apply((("some", 1.0),), [(lora, 1.0)])
    assert whole_round(guard) is None
    merger.apply((), [])
    assert whole_round(guard) is None

    pipeline.unet["linear"].weight.data += pair.delta(pipeline.unet["linear"].weight)
    assert whole_round(guard) == "unet.linear.weight"


def test_it_looks_after_many_pictures_and_when_idle_after_a_rest(pipeline: Any) -> None:
    now = [0.0]
    guard = WeightsGuard(pipeline, untouched, clock=lambda: now[0])
    now[0] = 10 * ROUND_SECONDS
    assert not guard.is_due(idle=True), "nothing has been made since"

    guard.count_picture()
    assert guard.is_due(idle=True)
    assert not guard.is_due(idle=False)
    whole_round(guard)
    guard.count_picture()
    assert not guard.is_due(idle=True), "the round has just ended"
    for _ in range(PICTURES):
        guard.count_picture()
    assert guard.is_due(idle=False)


def test_half_a_round_is_finished_when_there_is_time(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_guard, "SLICE_BYTES", 1)
    guard = WeightsGuard(pipeline, untouched)

    guard.look()

    assert guard.rounds == 0
    assert guard.is_due(idle=True)


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepEngine]:
    monkeypatch.setattr(weights_guard, "PICTURES", 1)
    running = start_engine(folder)
    yield running
    running.close()


def test_the_engine_goes_on_with_sound_weights_and_any_lora(
    engine: StepEngine, loras: Loras
) -> None:
    for wanted in ((), ((loras.text, 1.0),), ((loras.narrow, 0.5),), ()):
        run_all(engine, [make_job(loras=wanted)])

    assert engine.complaint() is None
    assert engine.residency()["weight_checks"] >= 3


def test_the_engine_makes_no_more_pictures_with_spoiled_weights(engine: StepEngine) -> None:
    run_all(engine, [make_job()])

    engine._pipeline.unet.conv_in.weight.data[0, 0, 0, 0] += 1.0
    # Whoever is at work when it happens cannot know.
    engine.submit(make_job(), lambda _: None).exception(timeout=60)
    wait_until(engine.complaint, description="the complaint", seconds=60)

    assert "conv_in.weight" in str(engine.complaint())
    with pytest.raises(DeviceLost, match="weights have changed"):
        engine.submit(make_job(), lambda _: None).result(timeout=60)
