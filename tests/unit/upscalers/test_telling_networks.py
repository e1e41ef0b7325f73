"""A file's names and shapes tell which network it holds, and the worker builds that very one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from shared.loras.entry import LoraState
from shared.upscalers.architecture import Architecture, Compact, Folded, Rrdb, operations
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.entry import UpscalerEntry
from tests.unit.upscalers.upscaler_files import (
    COMPACT,
    FOLDED,
    KINDS,
    RRDB,
    RRDB_TWICE,
    Tensors,
    in_capitals,
    in_old_names,
    network,
    tensors_of,
    write_pickled,
    write_plain,
)
from worker.engine.upscale.loading import build, load_upscaler

PICTURE = torch.linspace(0, 1, 3 * 10 * 14).view(1, 3, 10, 14)


def entry_of(folder: Path) -> UpscalerEntry:
    """The only file's entry."""
    catalog = UpscalerCatalog(folder)
    catalog.scan()
    (entry,) = catalog.entries()
    return entry


def assert_loads_as(entry: UpscalerEntry, architecture: Architecture) -> None:
    """The loaded file draws what the network with those weights draws."""
    assert (entry.state, entry.reason) == (LoraState.AVAILABLE, None)
    assert entry.architecture == architecture
    assert entry.factors == list(architecture.factors)
    loaded = load_upscaler(entry, torch.device("cpu"))
    with torch.inference_mode():
        for factor in architecture.factors:
            drawn = loaded.network(PICTURE, factor)
            assert drawn.shape == (1, 3, 10 * factor, 14 * factor)
            torch.testing.assert_close(drawn, network(architecture)(PICTURE, factor))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_from_its_shapes_and_loads(kind: str, tmp_path: Path) -> None:
    write_plain(tmp_path / "one.safetensors", tensors_of(KINDS[kind]))
    assert_loads_as(entry_of(tmp_path), KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_shapes_that_the_gateway_expects_are_those_of_the_networks(kind: str) -> None:
    built = {name: tuple(value.shape) for name, value in build(KINDS[kind]).state_dict().items()}
    assert dict(KINDS[kind].shapes()) == built


@pytest.mark.parametrize(
    ("name", "ups", "factor"), [("x1", 0, 1), ("x2", 1, 2), ("x4", 2, 4), ("x8", 3, 8)]
)
def test_esrgans_numbered_layers_are_read_at_every_scale(
    name: str, ups: int, factor: int, tmp_path: Path
) -> None:
    one = Rrdb(width=8, growth=4, blocks=1, ups=ups, fold=1)
    write_plain(tmp_path / f"{name}.safetensors", in_old_names(tensors_of(one), ups=ups))
    entry = entry_of(tmp_path)
    assert entry.factors == [factor]
    assert_loads_as(entry, one)


def test_esrgans_second_naming_is_read(tmp_path: Path) -> None:
    write_plain(tmp_path / "bsrgan.safetensors", in_capitals(tensors_of(RRDB)))
    assert_loads_as(entry_of(tmp_path), RRDB)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", [None, "params_ema", "params", "state_dict"])
def test_checkpoints_are_read_out_of_their_wrapper_in_both_formats(
    wrapper: str | None, legacy: bool, tmp_path: Path
) -> None:
    tensors: object = tensors_of(RRDB_TWICE)
    content = {wrapper: tensors} if wrapper else tensors
    write_pickled(tmp_path / "one.pth", content, legacy=legacy)
    assert_loads_as(entry_of(tmp_path), RRDB_TWICE)


def test_a_whole_modules_state_with_its_versions_is_read(tmp_path: Path) -> None:
    write_pickled(tmp_path / "one.pth", {"params": network(COMPACT).state_dict()})
    assert_loads_as(entry_of(tmp_path), COMPACT)


def test_parameters_and_a_training_scripts_prefix_are_read(tmp_path: Path) -> None:
    named = {
        f"module.{name}": torch.nn.Parameter(value) for name, value in tensors_of(RRDB).items()
    }
    write_pickled(tmp_path / "one.pth", named)
    assert_loads_as(entry_of(tmp_path), RRDB)


def test_half_precision_and_other_memory_layouts_are_read(tmp_path: Path) -> None:
    turned: Tensors = {
        name: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in tensors_of(COMPACT).items()
    }
    write_pickled(tmp_path / "one.pth", turned)
    assert_loads_as(entry_of(tmp_path), COMPACT)
    halves = {name: value.half() for name, value in tensors_of(FOLDED).items()}
    (tmp_path / "one.pth").unlink()
    write_plain(tmp_path / "half.safetensors", halves)
    assert entry_of(tmp_path).architecture == FOLDED


def test_a_network_that_folds_takes_any_size_even_a_single_pixel() -> None:
    with torch.inference_mode():
        for architecture in (RRDB_TWICE, FOLDED, Rrdb(8, 4, 1, 2, 4)):
            for height, width in [(1, 1), (1, 7), (5, 3)]:
                factor = architecture.factors[0]
                drawn = network(architecture)(torch.rand(1, 3, height, width), factor)
                assert drawn.shape == (1, 3, height * factor, width * factor)


def test_real_esrgans_arithmetic_is_as_published() -> None:
    """0.55 TFLOP for 128 x 128 pixels."""
    whole = operations(Rrdb(width=64, growth=32, blocks=23, ups=2, fold=1)) * 128 * 128
    np.testing.assert_allclose(whole / 1e12, 0.55, atol=0.05)
    assert operations(Compact(64, 16, 4)) < operations(Rrdb(64, 32, 6, 2, 1))
    assert operations(Folded(64, 10, 32, (2, 4))) < 1e6
