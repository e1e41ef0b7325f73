"""The key of an engine: everything that must be equal for it to be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch

from worker.engine.base.disk_key import DiskKey
from worker.engine.base.weights_guard import sum_of_bits

Shape = tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class BuildKey(DiskKey):
    """Base, part, the weights' fingerprint, device, versions of the libraries, input shapes."""

    base: str
    part: str
    weights: str
    device: str
    versions: tuple[str, ...]
    shapes: tuple[Shape, ...]


def shapes_of(inputs: Sequence[torch.Tensor]) -> tuple[Shape, ...]:
    """Sizes and types of a part's inputs."""
    return tuple((tuple(x.shape), str(x.dtype).removeprefix("torch.")) for x in inputs)


def fingerprint(module: torch.nn.Module) -> str:
    """A digest of a module's weights: every tensor's name, shape, type and sum of bits."""
    weights = dict(module.named_parameters())
    with torch.inference_mode():
        sums = torch.stack([sum_of_bits(weight) for weight in weights.values()]).tolist()
    digest = sha256()
    for (name, weight), total in zip(weights.items(), sums, strict=True):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} {total}\n".encode())
    return digest.hexdigest()[:24]
