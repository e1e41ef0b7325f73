"""Real-ESRGAN x4plus as `make extras` puts it into `upscalers/`: the published network exactly."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from api.extras.ncnn import HALF, UnreadableModel, read_convolutions, rrdb_tensors
from api.extras.upscaler import as_safetensors
from shared.loras.header import read_header
from shared.settings import REPOSITORY
from shared.upscalers.architecture import Rrdb
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import LARGE, LARGE_SHA256

EXTRA = REPOSITORY / "upscalers" / f"{LARGE}.safetensors"
# Of the tensor conv_last.weight, float16 [3, 64, 3, 3].
LAST_SHA256 = "c21c7d6554dde189cff9e68fd4326ee8aa06aa0e00a47ee69ec556e229ea1c67"

needs_extra = pytest.mark.skipif(not EXTRA.is_file(), reason="`make extras` has not run here")


def write_model(folder: Path, shapes: list[tuple[int, int]], tag: int = HALF) -> tuple[Path, Path]:
    """A network in ncnn's files whose weights count up from 0."""
    lines, data = ["7767517", f"{len(shapes)} 1"], b""
    for number, (outputs, inputs) in enumerate(shapes):
        count = outputs * inputs * 9
        lines.append(f"Convolution c{number} 1 1 a b 0={outputs} 1=3 4=1 5=1 6={count}")
        weights = np.arange(count, dtype="<f2").tobytes()
        data += struct.pack("<I", tag) + weights + b"\0" * (-len(weights) % 4)
        data += np.arange(outputs, dtype="<f4").tobytes()
    param, weights_path = folder / "m.param", folder / "m.bin"
    param.write_text("\n".join(lines) + "\n")
    weights_path.write_bytes(data)
    return param, weights_path


def test_weights_padded_to_four_bytes_and_biases_are_read_in_order(tmp_path: Path) -> None:
    first, second = read_convolutions(*write_model(tmp_path, [(1, 1), (2, 3)]))
    np.testing.assert_array_equal(first.weight.ravel(), np.arange(9))
    assert second.weight.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(second.bias, [0, 1])


@pytest.mark.parametrize("change", ["tag", "short", "long", "magic"])
def test_files_that_are_not_what_they_should_be_are_refused(change: str, tmp_path: Path) -> None:
    param, weights = write_model(tmp_path, [(2, 3)], 0 if change == "tag" else HALF)
    data = weights.read_bytes()
    if change == "magic":
        param.write_text("1\n1 1\n")
    if change in ("short", "long"):
        weights.write_bytes(data[:-8] if change == "short" else data + b"\0")
    with pytest.raises(UnreadableModel):
        read_convolutions(param, weights)


def test_a_number_of_convolutions_that_makes_no_rrdbnet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel):
        rrdb_tensors(read_convolutions(*write_model(tmp_path, [(1, 1)] * 7)))


def test_the_file_that_is_written_can_be_read_as_safetensors(tmp_path: Path) -> None:
    tensors = rrdb_tensors(read_convolutions(*write_model(tmp_path, [(1, 1)] * 21)))
    path = tmp_path / "one.safetensors"
    path.write_bytes(as_safetensors(tensors))
    with path.open("rb") as file:
        header = read_header(file, path.stat().st_size)
    assert [tensor.name for tensor in header.tensors] == list(tensors)
    assert header.tensors[-2].name == "conv_last.weight"


@needs_extra
def test_the_converted_network_is_the_published_one() -> None:
    data = EXTRA.read_bytes()
    assert hashlib.sha256(data).hexdigest() == LARGE_SHA256
    with EXTRA.open("rb") as file:
        header = read_header(file, len(data))
    (last,) = (tensor for tensor in header.tensors if tensor.name == "conv_last.weight")
    assert last.shape == (3, 64, 3, 3)
    values = data[header.body_start + last.begin : header.body_start + last.end]
    assert hashlib.sha256(values).hexdigest() == LAST_SHA256


@needs_extra
def test_the_catalogue_knows_it_with_its_licence() -> None:
    catalog = UpscalerCatalog(EXTRA.parent)
    catalog.scan()
    entry = catalog.resolve(LARGE)
    assert entry.architecture == Rrdb(width=64, growth=32, blocks=23, ups=2, fold=1)
    assert entry.factors == [4]
    assert "BSD-3-Clause" in (entry.licence or "")
