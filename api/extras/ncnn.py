"""Reads the convolutions of a network from ncnn's files, and gives them RRDBNet's names.

Knows the two formats and the order of the network's definition. A `.param` is text: a magic number,
two counts, then a line per layer with `key=value` settings. A `.bin` holds the layers' data in
order: for a convolution a tag, weights in half precision padded to four bytes, and a bias in single
precision.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = "7767517"
# Weights in half precision; other tags mean other encodings.
HALF = 0x01306B47
OUTPUTS, KERNEL, HAS_BIAS, COUNT = "0", "1", "5", "6"

Tensors = dict[str, np.ndarray[Any, np.dtype[Any]]]


class UnreadableModel(ValueError):
    """Raised when a file does not follow its format, or is not the expected network."""


@dataclass(frozen=True)
class Convolution:
    """Weights float16 [out, in, k, k], bias float32 [out]."""

    weight: np.ndarray[Any, np.dtype[np.float16]]
    bias: np.ndarray[Any, np.dtype[np.float32]]


def read_convolutions(param: Path, weights: Path) -> list[Convolution]:
    """All convolutions in the file's order. Raises UnreadableModel."""
    data = weights.read_bytes()
    found, at = [], 0
    for settings in _convolution_lines(param.read_text("utf-8")):
        one, at = _convolution(data, at, settings)
        found.append(one)
    if at != len(data):
        raise UnreadableModel(f"{weights.name} has {len(data) - at} bytes that no layer names")
    return found


def _convolution_lines(text: str) -> Iterator[dict[str, str]]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != MAGIC:
        raise UnreadableModel("the .param file does not begin with ncnn's magic number")
    for line in lines[2:]:
        words = line.split()
        if words and words[0] == "Convolution":
            yield dict(word.split("=", 1) for word in words if "=" in word)


def _convolution(data: bytes, at: int, settings: dict[str, str]) -> tuple[Convolution, int]:
    outputs, kernel, count = (int(settings[key]) for key in (OUTPUTS, KERNEL, COUNT))
    if settings.get(HAS_BIAS) != "1" or count % (outputs * kernel * kernel):
        raise UnreadableModel(f"a convolution of an unknown form: {settings}")
    end = at + 4 + (2 * count + 3) // 4 * 4
    if int.from_bytes(data[at : at + 4], "little") != HALF or end + 4 * outputs > len(data):
        raise UnreadableModel(f"no half-precision weights at byte {at}")
    weight = np.frombuffer(data, "<f2", count, at + 4).reshape(outputs, -1, kernel, kernel)
    bias = np.frombuffer(data, "<f4", outputs, end)
    return Convolution(weight, bias), end + 4 * outputs


def rrdb_tensors(convolutions: list[Convolution]) -> Tensors:
    """Maps an RRDBNet's convolutions to Real-ESRGAN's names: five are outside of the trunk."""
    blocks, rest = divmod(len(convolutions) - 6, 15)
    if rest or blocks < 1:
        raise UnreadableModel(f"{len(convolutions)} convolutions make no RRDBNet")
    tensors: Tensors = {}
    for name, one in zip(_rrdb_names(blocks), convolutions, strict=True):
        tensors[f"{name}.weight"] = one.weight
        tensors[f"{name}.bias"] = one.bias
    return tensors


def _rrdb_names(blocks: int) -> Iterator[str]:
    yield "conv_first"
    for block in range(blocks):
        for dense in range(1, 4):
            for number in range(1, 6):
                yield f"body.{block}.rdb{dense}.conv{number}"
    yield from ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
