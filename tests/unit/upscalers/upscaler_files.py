"""Enlarger files for tests: small networks of every kind, in every naming, honest and hostile."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from shared.upscalers.architecture import Architecture, Compact, Folded, Rrdb
from worker.engine.upscale.loading import build

RRDB = Rrdb(width=8, growth=4, blocks=1, ups=2, fold=1)
RRDB_TWICE = Rrdb(width=8, growth=4, blocks=1, ups=2, fold=2)
COMPACT = Compact(width=8, convolutions=2, factor=4)
FOLDED = Folded(width=8, blocks=1, fine=4, factors=(2, 4))
KINDS: dict[str, Architecture] = {
    "rrdb": RRDB, "rrdb_twice": RRDB_TWICE, "compact": COMPACT, "folded": FOLDED,
}  # fmt: skip

Tensors = dict[str, torch.Tensor]


def network(architecture: Architecture, seed: int = 0) -> torch.nn.Module:
    """A network with weights that are the same in every run, near those of a trained one."""
    torch.manual_seed(seed)
    made = build(architecture)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.05)
    return made.eval()


def tensors_of(architecture: Architecture, seed: int = 0) -> Tensors:
    return {name: value.clone() for name, value in network(architecture, seed).state_dict().items()}


def write_plain(path: Path, tensors: Tensors) -> Path:
    save_file(tensors, path)
    return path


def write_pickled(path: Path, content: object, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def in_old_names(tensors: Tensors, blocks: int = 1, ups: int = 2) -> Tensors:
    """ESRGAN's first naming, by place in one sequence of layers."""
    places = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    places |= {f"conv_up{number}": f"model.{3 * number}" for number in range(1, ups + 1)}
    places |= {"conv_hr": f"model.{3 * ups + 2}", "conv_last": f"model.{3 * ups + 4}"}
    renamed = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer in places:
            renamed[f"{places[layer]}.{kind}"] = value
        else:
            _, block, dense, number = layer.split(".")
            place = f"model.1.sub.{block}.{dense.upper()}.{number}.0"
            renamed[f"{place}.{kind}"] = value
    return renamed


def in_capitals(tensors: Tensors) -> Tensors:
    """ESRGAN's second naming."""
    changes = (("conv_body", "trunk_conv"), ("body.", "RRDB_trunk."), (".rdb", ".RDB"),
               ("conv_up", "upconv"), ("conv_hr", "HRconv"))  # fmt: skip
    renamed = {}
    for name, value in tensors.items():
        for ours, theirs in changes:
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed


class Evil:
    """Runs a command when a plain pickle reader meets it."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        import os

        return os.system, (f"touch {self._mark}",)


def write_zip(path: Path, program: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    """A checkpoint's archive around any pickle."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
    return path


def dumped(content: object, protocol: int = 2) -> bytes:
    return pickle.dumps(content, protocol)
