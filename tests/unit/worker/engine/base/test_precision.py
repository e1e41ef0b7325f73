"""In which numbers a device computes."""

from collections.abc import Iterator

import pytest
import torch

from worker.engine.base.precision import allow_fp16_accumulation

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_fp16_accumulation
    yield
    torch.backends.cuda.matmul.allow_fp16_accumulation = before


@pytest.mark.parametrize(
    ("card", "precision", "quick"),
    [
        ("NVIDIA GeForce RTX 3060", "auto", True),
        ("NVIDIA GeForce RTX 3060", "float32", False),
        ("NVIDIA H100 80GB HBM3", "auto", False),
    ],
)
def test_half_precision_sums_are_for_consumer_cards(
    monkeypatch: pytest.MonkeyPatch, card: str, precision: str, quick: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: card)
    assert allow_fp16_accumulation(CUDA, precision) is quick
    assert torch.backends.cuda.matmul.allow_fp16_accumulation is quick


def test_a_processor_is_left_alone() -> None:
    assert allow_fp16_accumulation(torch.device("cpu"), "auto") is False
