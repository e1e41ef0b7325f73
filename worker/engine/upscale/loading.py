"""From a catalogue entry to a network that is ready on a device.

Owns loading and building. Uses the same names and shapes by which the catalogue judged the file.
"""

import io
from dataclasses import dataclass

import torch
from safetensors.torch import load
from torch import nn

from shared.errors import UpscalerChanged, UpscalerCorrupt
from shared.loras.checked_read import read_exactly_as_checked
from shared.loras.reasons import Refused
from shared.upscalers.architecture import Architecture, Compact, Rrdb, identify, operations
from shared.upscalers.entry import UpscalerEntry
from shared.upscalers.inspection import CHECKPOINT
from shared.upscalers.naming import published_names
from shared.upscalers.pickled import WRAPPERS
from worker.engine.upscale.networks import FoldedNet, RRDBNet, SRVGGNetCompact

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LoadedUpscaler:
    """A network in inference mode, the type in which it computes, and the cost of a pixel."""

    name: str
    network: nn.Module
    factors: tuple[int, ...]
    operations: float
    device: torch.device
    dtype: torch.dtype

    @property
    def size_bytes(self) -> int:
        return sum(weight.nbytes for weight in self.network.parameters())


def load_upscaler(entry: UpscalerEntry, device: torch.device) -> LoadedUpscaler:
    """Loads a checked file. Raises UpscalerChanged, UpscalerCorrupt."""
    data = read_exactly_as_checked(entry.path, entry.size_bytes, entry.sha256)
    if data is None:
        raise UpscalerChanged(f"'{entry.name}' was replaced or removed after it was checked")
    # A CPU computes half precision in single precision anyway, and slowly.
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    try:
        network = _network(data, pickled=entry.path.suffix.lower() == CHECKPOINT)
    except (Refused, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise UpscalerCorrupt(f"'{entry.name}' cannot be read") from error
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        raise UpscalerCorrupt(f"'{entry.name}' contains values that are not numbers")
    network = network.eval().requires_grad_(False)
    network = network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert entry.architecture is not None
    cost = operations(entry.architecture)
    return LoadedUpscaler(entry.name, network, tuple(entry.factors), cost, device, dtype)


def _network(data: bytes, *, pickled: bool) -> nn.Module:
    tensors = _unpickled(data) if pickled else load(data)
    names = published_names(tensors)
    published = {names[name]: tensor.float() for name, tensor in tensors.items()}
    network = build(identify({name: tuple(t.shape) for name, t in published.items()}))
    network.load_state_dict(published)
    return network


def build(architecture: Architecture) -> nn.Module:
    """The network without weights."""
    if isinstance(architecture, Rrdb):
        one = architecture
        return RRDBNet(one.width, one.growth, one.blocks, one.ups, one.fold)
    if isinstance(architecture, Compact):
        return SRVGGNetCompact(architecture.width, architecture.convolutions, architecture.factor)
    shape = architecture
    return FoldedNet(shape.width, shape.blocks, shape.fine, shape.factors)


def _unpickled(data: bytes) -> Tensors:
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    for _ in WRAPPERS:
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), dict)), None)
        if inner is None:
            break
        found = inner
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
