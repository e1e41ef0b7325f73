"""The blocks that can be compiled, and the kinds of code that they need.

A kind is everything on which code depends: the block's structure and weights' shapes, its inputs'
types and layouts, the versions of the libraries, the device and the number of threads.
"""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from worker.engine.base.disk_key import DiskKey, device_name

# By name: the classes' modules take seconds to import, and a base need not have them. A block of
# the autoencoders' and UNets' residual kind takes nearly all of a convolutional network's time.
_CLASSES = ("ResnetBlock2D", "AutoencoderTinyBlock")

# Bounds of the inputs that code is made for.
ROWS, LEAST_SIDE, MOST_SIDE = 64, 2, 4096

_PLAIN = (bool, int, float, str, type(None))

Given = tuple[torch.Tensor | None, ...]


@dataclass(frozen=True)
class Input:
    """One input of a block: its type, its number of dimensions, its channels, and of a picture
    whether they are last in memory.
    """

    dtype: str
    rank: int
    width: int
    is_last: bool

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.is_last else torch.contiguous_format


@dataclass(frozen=True)
class Kind(DiskKey):
    """What a block's code depends on. `inputs` are those that its forward method is given, `device`
    is the type of the device, `machine` its model.
    """

    module: str
    inputs: tuple[Input | None, ...]
    autocast: str
    device: str
    threads: int
    machine: str
    versions: tuple[str, ...]


def is_region(module: torch.nn.Module) -> bool:
    """Whether this module is a block that can be compiled."""
    return type(module).__name__ in _CLASSES


def regions_of(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The blocks of a network whose weights are plain numbers in one of torch's layouts, and whose
    structure their attributes tell.
    """
    for module in network.modules():
        if is_region(module) and _is_plain(module):
            yield module


def is_last(tensor: torch.Tensor) -> bool:
    """Whether a picture's or a kernel's channels lie next to each other in memory; False for
    everything with other than four dimensions.
    """
    return tensor.is_contiguous(memory_format=torch.channels_last)


def _is_plain(module: torch.nn.Module) -> bool:
    weights = list(module.parameters())
    is_float = all(weight.is_floating_point() for weight in weights)
    return is_float and layout_of(weights) is not None and all(map(_is_told, module.modules()))


def _is_told(part: torch.nn.Module) -> bool:
    return all(isinstance(value, (*_PLAIN, tuple)) for value in _attributes(part).values())


def _attributes(part: torch.nn.Module) -> dict[str, Any]:
    return {k: v for k, v in sorted(vars(part).items()) if not k.startswith("_")}


def description(module: torch.nn.Module) -> str:
    """A block's structure: classes, plain attributes and the shapes of weights, in order."""
    parts = []
    for name, part in module.named_modules():
        parts.append(f"{name} {type(part).__qualname__} {_attributes(part)}")
    weights = [f"{n} {tuple(w.shape)} {w.dtype}" for n, w in module.named_parameters()]
    layout = str(layout_of(list(module.parameters())))
    return sha256("\n".join([*parts, *weights, layout]).encode()).hexdigest()[:24]


def inputs_of(given: Given) -> tuple[Input | None, ...]:
    """What a kind knows of these inputs."""
    return tuple(
        None if x is None else Input(_name(x.dtype), x.dim(), x.shape[1], is_last(x)) for x in given
    )


def kind_of(
    module: str,
    inputs: tuple[Input | None, ...],
    autocast: torch.dtype | None,
    device: torch.device,
) -> Kind:
    """The kind for this process and device; `module` is the block's description."""
    dtype = "" if autocast is None else _name(autocast)
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    model = machine() if device.type == "cpu" else device_name(device)
    return Kind(module, inputs, dtype, device.type, threads, model, versions())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@cache
def machine() -> str:
    """The processor: code compiled for one may have instructions that another lacks."""
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        first = facts.read_text().split("\n\n", 1)[0]
        lines += [line for line in first.splitlines() if line.startswith(wanted)]
    return sha256("\n".join(lines).encode()).hexdigest()[:24]


@cache
def versions() -> tuple[str, ...]:
    """What the code is made by: torch, diffusers, and the files that describe it here."""
    own = sha256()
    for name in ("regions.py", "tracing.py"):
        own.update((Path(__file__).parent / name).read_bytes())
    return (torch.__version__, f"diffusers {version('diffusers')}", own.hexdigest()[:16])


def skeleton(module: torch.nn.Module) -> torch.nn.Module:
    """The block without its weights' values, hooks and whatever replaces its methods."""
    bare = type(module).__new__(type(module))
    bare.__dict__ = {k: v for k, v in vars(module).items() if k != "forward" and "hook" not in k}
    empty = torch.nn.Module()
    bare.__dict__ |= {k: v for k, v in vars(empty).items() if "hook" in k}
    bare._parameters = {
        name: None if weight is None else _emptied(weight)
        for name, weight in module._parameters.items()
    }
    bare._modules = {
        name: None if part is None else skeleton(part) for name, part in module._modules.items()
    }
    return bare


def _emptied(weight: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)


def layout_of(weights: Sequence[Any]) -> torch.memory_format | None:
    """The layout of a block's kernels; None if they or other weights have none that code knows."""
    layouts = (torch.channels_last, torch.contiguous_format)
    return next((layout for layout in layouts if have_layout(weights, layout)), None)


def have_layout(weights: Sequence[Any], layout: torch.memory_format | None) -> bool:
    """Whether weights, which LoRAs exchange, are in memory as code for this layout expects."""
    if layout is None:
        return False
    return all(
        w.is_contiguous(memory_format=layout) if w.dim() == 4 else w.is_contiguous()
        for w in weights
    )
