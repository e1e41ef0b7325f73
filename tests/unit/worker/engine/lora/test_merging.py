"""Merging by itself: memory, moved layers, and the base bit for bit afterwards."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.failing_device import Device
from worker.engine.lora.changes import LowRank
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.merging import WeightMerger

LAYERS = 12
SIDE = 64
SET = (("sha", 1.0),)


def make_pipeline() -> Any:
    torch.manual_seed(0)
    layers = {f"l{n}": torch.nn.Linear(SIDE, SIDE, dtype=torch.float16) for n in range(LAYERS)}
    encoder = torch.nn.ModuleDict({"e": torch.nn.Linear(4, 4)})
    return SimpleNamespace(unet=torch.nn.ModuleDict(layers), text_encoder=encoder)


def make_adapter(**parts: dict[str, int]) -> AdapterWeights:
    """Pairs of rank 2 for these layers, by part and side."""
    generator = torch.Generator().manual_seed(1)

    def pair(side: int) -> LowRank:
        down, up = (torch.randn(shape, generator=generator) for shape in ((2, side), (side, 2)))
        return LowRank(down, up, 1.0)

    return AdapterWeights(
        "some", {p: {name: pair(side) for name, side in own.items()} for p, own in parts.items()}
    )


def weights_of(pipeline: Any) -> dict[str, torch.Tensor]:
    parts = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    return {
        f"{part}.{name}": weight.detach().clone()
        for part, module in parts.items()
        for name, weight in module.named_parameters()
    }


class Watched(LowRank):
    """Notes how many float32 weights are alive when it is computed."""

    alive: list[int] = []

    def delta(self, like: torch.Tensor) -> torch.Tensor:
        import gc

        whole = (
            one
            for one in gc.get_objects()
            if type(one) is torch.Tensor
            and one.dtype is torch.float32
            and one.shape == (SIDE, SIDE)
        )
        Watched.alive.append(sum(1 for _ in whole))
        return super().delta(like)


@torch.no_grad()
def test_only_one_layer_at_a_time_is_in_single_precision() -> None:
    adapter = make_adapter(unet={f"l{n}": SIDE for n in range(LAYERS)})
    pairs = {
        name: Watched(pair.down, pair.up, pair.scale)  # type: ignore[attr-defined]
        for name, pair in adapter.parts["unet"].items()
    }
    WeightMerger(make_pipeline(), 2**30).apply(SET, [(AdapterWeights("w", {"unet": pairs}), 1.0)])
    assert len(Watched.alive) == LAYERS
    assert max(Watched.alive) <= 2


@pytest.mark.parametrize("rewrites", [False, True])
@torch.no_grad()
def test_a_layer_that_was_moved_meanwhile_is_the_one_that_is_read_and_restored(
    rewrites: bool,
) -> None:
    pipeline = make_pipeline()
    merger, adapter = WeightMerger(pipeline, 2**30, rewrites), make_adapter(text_encoder={"e": 4})
    before, weight = weights_of(pipeline), pipeline.text_encoder["e"].weight

    # Given a set that was in place once
    merger.apply(SET, [(adapter, 1.0)])
    merged = weight.detach().clone()
    merger.apply((), [])
    # When offloading gives the layer other memory, before and while the set is in place
    weight.data = weight.data.clone()
    merger.apply(SET, [(adapter, 1.0)])
    assert torch.equal(weight, merged)
    weight.data = weight.data.clone()
    merger.apply((), [])
    # Then what the layer reads is the base's own
    assert all(torch.equal(weights_of(pipeline)[name], own) for name, own in before.items())


@torch.no_grad()
def test_several_sets_in_turn_leave_the_base_as_it_was() -> None:
    pipeline = make_pipeline()
    merger, before = WeightMerger(pipeline, 2**30), weights_of(pipeline)
    for part in ({"unet": {"l0": SIDE}}, {"text_encoder": {"e": 4}}):
        merger.apply(((str(part), 0.5),), [(make_adapter(**part), 0.5)])
    merger.apply((), [])
    assert all(torch.equal(weights_of(pipeline)[name], own) for name, own in before.items())


@torch.no_grad()
def test_a_set_too_large_to_stand_beside_the_base_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given no room for merged weights beside the base's
    pipeline, roomy = make_pipeline(), make_pipeline()
    adapter = make_adapter(unet={f"l{n}": SIDE for n in range(LAYERS)})
    before = weights_of(pipeline)
    merger = WeightMerger(pipeline, 1)
    # When
    merger.apply(SET, [(adapter, 1.0)])
    # Then the weights are as with room, and nothing is kept twice
    WeightMerger(roomy, 2**30).apply(SET, [(adapter, 1.0)])
    assert all(torch.equal(w, weights_of(pipeline)[name]) for name, w in weights_of(roomy).items())
    assert merger.merged.size_bytes == 0
    assert torch.equal(merger.pristine(("unet", "l3")), before["unet.l3.weight"])  # type: ignore[arg-type]
    merger.apply((), [])
    assert all(torch.equal(weights_of(pipeline)[name], own) for name, own in before.items())
    # And one that fails half-way leaves the base as it was
    calls = iter(range(100))

    def failing(*args: Any) -> torch.Tensor:
        if next(calls) == 5:
            raise torch.OutOfMemoryError
        return changed(*args)

    changed = merger._changed_layer
    monkeypatch.setattr(merger, "_changed_layer", failing)
    with pytest.raises(torch.OutOfMemoryError):
        merger.apply(SET, [(adapter, 1.0)])
    assert merger.in_place == ()
    assert all(torch.equal(weights_of(pipeline)[name], own) for name, own in before.items())


@pytest.mark.parametrize("times", [1, 10**9])
@pytest.mark.parametrize(("limit", "rewrites"), [(2**20, False), (2**20, True), (0, False)])
def test_a_device_without_memory_at_any_operator_leaves_the_base_as_it_was(
    limit: int, rewrites: bool, times: int
) -> None:
    pipeline, device = make_pipeline(), Device()
    before = weights_of(pipeline)
    merger = WeightMerger(pipeline, limit, rewrites)
    adapter = make_adapter(unet={"l0": SIDE, "l1": SIDE, "l2": SIDE}, text_encoder={"e": 4})
    first, second = [(adapter, 0.5)], [(adapter, 1.0)]
    with torch.inference_mode(), device:
        merger.apply((("sha", 0.5),), first)
        merger.apply(SET, second)
    expected, operators = weights_of(pipeline), device.count
    assert operators > 8
    for at in range(1, operators + 1):
        merger.apply((), [])
        merger.drop_unused()
        device.fail(at, times)
        with torch.inference_mode(), device, suppress(torch.OutOfMemoryError):
            merger.apply((("sha", 0.5),), first)
            merger.apply(SET, second)
        device.fail(0, 0)
        # Whatever is in place now, what is asked for next is what is there
        with merger.aside():
            merger.apply(SET, second)
            assert_equal(weights_of(pipeline), expected)
        merger.apply((), [])
        assert_equal(weights_of(pipeline), before)
        assert merger.in_place == ()


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(one[name], other[name]) for name in other)
