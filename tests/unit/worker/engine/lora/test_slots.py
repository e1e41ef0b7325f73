"""The pool of LoRA slots by itself: room, slot ranges, and the base untouched."""

from typing import Any

import pytest
import torch

from worker.engine.lora.changes import Dense, LowRank, added
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.slots import SlotPool


def make_unet() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"a": torch.nn.Linear(6, 5), "b": torch.nn.Linear(5, 4)})


def make_adapter(rank: int, seed: int, layers: tuple[str, ...] = ("a", "b")) -> AdapterWeights:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"a": (6, 5), "b": (5, 4)}
    pairs = {}
    for layer in layers:
        inside, outside = sizes[layer]
        down = torch.randn(rank, inside, generator=generator)
        up = torch.randn(outside, rank, generator=generator)
        pairs[layer] = LowRank(down, up, scale=0.5)
    return AdapterWeights("some", {"unet": pairs})


def expected(unet: torch.nn.Module, layer: str, x: torch.Tensor, *adapters: tuple) -> torch.Tensor:
    linear: Any = unet.get_submodule(layer)
    weight = linear.weight.clone()
    for weights, scale in adapters:
        weight += weights.parts["unet"][layer].delta(weight) * scale
    return torch.nn.functional.linear(x, weight, linear.bias)


@torch.no_grad()
def test_each_row_gets_its_own_loras_and_scales() -> None:
    unet, x = make_unet(), torch.randn(4, 7, 6)
    pool, one, two = SlotPool(unet, 8), make_adapter(2, 1), make_adapter(3, 2)
    assert pool.hold("one", one)
    assert pool.hold("two", two)
    pool.open(pool.gate([(("one", 1.0),), (), (("two", -0.5),), (("one", 0.3), ("two", 2.0))], x))
    y = unet["a"](x)  # type: ignore[index]
    mixes = [((one, 1.0),), (), ((two, -0.5),), ((one, 0.3), (two, 2.0))]
    for row, mix in enumerate(mixes):
        torch.testing.assert_close(y[row], expected(unet, "a", x[row], *mix))


@torch.no_grad()
def test_without_loras_the_layer_is_bit_for_bit_the_base() -> None:
    unet, x = make_unet(), torch.randn(2, 6)
    before = unet["a"](x)  # type: ignore[index]
    pool = SlotPool(unet, 8)
    pool.hold("one", make_adapter(2, 1))
    pool.open(pool.gate([(("one", 1.0),), ()], x))
    pool.open(pool.gate([(), ()], x))
    assert torch.equal(unet["a"](x), before)  # type: ignore[index]
    assert list(dict(unet.named_parameters())) == ["a.weight", "a.bias", "b.weight", "b.bias"]


@torch.no_grad()
def test_an_adapter_forgotten_leaves_nothing_in_its_columns() -> None:
    unet, x = make_unet(), torch.randn(1, 3, 6)
    pool, small = SlotPool(unet, 4), make_adapter(1, 3)
    pool.hold("big", make_adapter(4, 1, layers=("a",)))
    pool.release("big")
    assert pool.hold("small", small)
    pool.open(pool.gate([(("small", 1.0),)], x))
    torch.testing.assert_close(unet["a"](x), expected(unet, "a", x, (small, 1.0)))  # type: ignore[index]


def test_what_is_held_is_never_forgotten() -> None:
    pool = SlotPool(make_unet(), 4)
    assert pool.hold("one", make_adapter(3, 1))
    assert not pool.hold("two", make_adapter(2, 2))
    pool.release("one")
    assert pool.hold("two", make_adapter(2, 2))


@pytest.mark.parametrize(
    ("parts", "fits"),
    [
        ({"unet": {"a": LowRank(torch.zeros(2, 6), torch.zeros(5, 2), 1.0)}}, True),
        ({"unet": {"a": LowRank(torch.zeros(9, 6), torch.zeros(5, 9), 1.0)}}, False),
        ({"unet": {"a": LowRank(torch.zeros(2, 6, 3, 3), torch.zeros(5, 2, 1, 1), 1.0)}}, True),
        ({"text_encoder": {"a": LowRank(torch.zeros(2, 6), torch.zeros(5, 2), 1.0)}}, True),
        ({"unet": {"a": Dense({"diff": torch.zeros(5, 6)}, 1.0, added)}}, False),
    ],
)
def test_low_rank_adapters_that_fit_are_carried(parts: dict, fits: bool) -> None:
    assert SlotPool(make_unet(), 8).can_carry([AdapterWeights("some", parts)]) is fits


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 1)])
@pytest.mark.parametrize("flat", [False, True])
@torch.no_grad()
def test_convolutions_of_any_size_have_slots_too(
    kernel: int, stride: int, padding: int, flat: bool
) -> None:
    if flat and kernel > 1:
        pytest.skip("only a 1x1 convolution is stored as a matrix")
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(6, 5, kernel, stride, padding)
    unet, x = torch.nn.ModuleDict({"c": layer}), torch.randn(3, 6, 8, 8)
    down, up = torch.randn(2, 6, kernel, kernel), torch.randn(5, 2, 1, 1)
    pair = LowRank(down.flatten(1), up.flatten(1), 0.5) if flat else LowRank(down, up, 0.5)
    changed = layer.weight + pair.delta(layer.weight) * 0.7
    expected = torch.nn.functional.conv2d(x, changed, layer.bias, stride, padding)
    base = layer(x)

    pool = SlotPool(unet, 4)
    assert pool.hold("one", AdapterWeights("one", {"unet": {"c": pair}}))
    pool.open(pool.gate([(("one", 0.7),), (), (("one", 0.7),)], x))
    y = layer(x)

    torch.testing.assert_close(y[0], expected[0])
    torch.testing.assert_close(y[1], base[1])
    torch.testing.assert_close(y[2], expected[2])
    pool.open(None)
    assert torch.equal(layer(x), base)
