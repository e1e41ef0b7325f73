"""From a block's skeleton to code: torch.export, then torch's compiler, ahead of time.

Only the program that makes code imports this. Source: docs.pytorch.org, "AOTInductor" and
"torch.export", dynamic shapes.
"""

import copy
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch

from worker.engine.compiled.code import Code
from worker.engine.compiled.regions import LEAST_SIDE, MOST_SIDE, ROWS, Input, Kind

# Code is kept if it needs this much less time, and if it differs this little from the block itself:
# whole pictures then agree to 50 dB and more.
LEAST_GAIN = 1.02
LARGEST_ERROR = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 1e-2}

# Rows and sides of the inputs of the trial: other than those that the code is traced with.
TRACED, TRIED, TIMED = (2, 48, 40), ((1, 32, 56), (3, 16, 8)), (1, 96, 96)
# A GPU is idle most of the time at that size. Numbers of an input, so that wide blocks fit, too.
ROWS_ON_GPU, MOST_SIDE_ON_GPU, MOST_ON_GPU = 4, 128, 2**25


class DoesNotPay(Exception):
    """Raised with the gain of code that is correct and not faster."""

    def __init__(self, gain: float) -> None:
        super().__init__(f"{gain:.2f} times as fast")
        self.gain = gain


def make(
    module: torch.nn.Module, kind: Kind, device: torch.device, folder: Path
) -> tuple[bytes, float]:
    """The code of a kind, and how many times as fast it is. `module` is a skeleton, `folder` a
    place for files in between. Raises DoesNotPay, or what torch raises for a block that it cannot
    compile.
    """
    block = _filled(module, device)
    weights = [weight.detach() for weight in block.parameters()]
    path = _compiled(block, weights, kind, device, folder)
    torch.set_num_threads(max(1, kind.threads))
    gain = _tried(Code(path, device), block, weights, kind, device)
    if gain < LEAST_GAIN:
        raise DoesNotPay(gain)
    return path.read_bytes(), gain


def _filled(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The block with some weights."""
    block = module.to_empty(device=device).eval()
    generator = torch.Generator(device).manual_seed(0)
    for weight in block.parameters():
        weight.data.normal_(0, 0.5 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return block


def _compiled(
    block: torch.nn.Module,
    weights: Sequence[torch.Tensor],
    kind: Kind,
    device: torch.device,
    folder: Path,
) -> Path:
    quick = copy.deepcopy(block)
    for layer in quick.modules() if device.type == "cpu" else ():
        if type(layer) is torch.nn.GroupNorm and layer.affine:
            setattr(layer, "forward", MethodType(_group_norm, layer))  # noqa: B010
    given = drawn(kind.inputs, TRACED, device)
    function = _Function(quick, _context(kind))
    shapes = ([_free(each) for each in given], [None] * len(weights))
    with torch.no_grad():
        exported = torch.export.export(
            function, (given, list(weights)), dynamic_shapes=shapes, strict=False
        )
    package = torch._inductor.aoti_compile_and_package(
        exported, package_path=str(folder / f"{kind.digest}.pt2"), inductor_configs=_options(kind)
    )
    path = folder / f"{kind.digest}.so"
    with zipfile.ZipFile(package) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".so")]
        path.write_bytes(archive.read(name))
    return path


def _options(kind: Kind) -> dict[str, Any]:
    if kind.device == "cpu":
        return {"compile_threads": 1, "cpp.threads": kind.threads}
    # One file with everything: kernels are otherwise files beside it.
    return {"compile_threads": 1, "aot_inductor.embed_kernel_binary": True}


class _Function(torch.nn.Module):
    """A block as a function of its inputs and its weights."""

    def __init__(self, block: torch.nn.Module, context: Callable[[], Any]) -> None:
        super().__init__()
        self._held = [block]  # in a list, so that its weights are not this module's
        self._names = [name for name, _ in block.named_parameters()]
        self._context = context

    def forward(
        self, given: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        named = dict(zip(self._names, weights, strict=True))
        with self._context():
            value: torch.Tensor = torch.func.functional_call(self._held[0], named, tuple(given))
        return value


def _group_norm(layer: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """For a CPU: the same sums as torch's own kernel. The compiler's version reads the picture once
    per group, which took what the rest gained. as_strided makes the compiler keep a result: the
    sums of a line, then factor and offset of each channel, not of each pixel.
    """
    if x.dim() != 4:
        return torch.nn.functional.group_norm(
            x, layer.num_groups, layer.weight, layer.bias, layer.eps
        )
    rows, channels, height, width = x.shape
    groups, own = layer.num_groups, channels // layer.num_groups
    picture = x.float()
    lines = picture.permute(0, 2, 3, 1)

    def summed(values: torch.Tensor) -> torch.Tensor:
        each = (rows, height, channels), (height * channels, channels, 1)
        total = values.sum(2).as_strided(*each).sum(1)
        grouped: torch.Tensor = total.view(rows, groups, own).sum(2, keepdim=True)
        return grouped

    count = own * height * width
    mean = summed(lines) / count
    deviation = (summed(lines * lines) / count - mean * mean).clamp_min(0)
    factor = torch.rsqrt(deviation + layer.eps) * layer.weight.view(1, groups, own)
    offset = layer.bias.view(1, groups, own) - mean * factor
    factor, offset = (
        each.contiguous().as_strided((rows, channels), (channels, 1))[:, :, None, None]
        for each in (factor, offset)
    )
    return (picture * factor + offset).to(x.dtype)


def _context(kind: Kind) -> Callable[[], Any]:
    dtype = getattr(torch, kind.autocast or "bfloat16")
    return lambda: torch.autocast(
        kind.device, dtype, enabled=bool(kind.autocast), cache_enabled=False
    )


def _free(given: torch.Tensor | None) -> Any:
    if given is None:
        return None
    sides = {0: torch.export.Dim("rows", min=1, max=ROWS)}
    if given.dim() == 4:
        sides[2] = torch.export.Dim("height", min=LEAST_SIDE, max=MOST_SIDE)
        sides[3] = torch.export.Dim("width", min=LEAST_SIDE, max=MOST_SIDE)
    return sides


def drawn(
    inputs: Sequence[Input | None], sizes: tuple[int, int, int], device: torch.device
) -> list[torch.Tensor | None]:
    """Random inputs of these rows, height and width."""
    rows, height, width = sizes
    found: list[torch.Tensor | None] = []
    for each in inputs:
        if each is None:
            found.append(None)
            continue
        shape = (rows, each.width, height, width) if each.rank == 4 else (rows, each.width)
        values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        found.append(values.to(device, each.torch_dtype).contiguous(memory_format=each.layout))
    return found


def _tried(
    code: Code,
    block: torch.nn.Module,
    weights: Sequence[torch.Tensor],
    kind: Kind,
    device: torch.device,
) -> float:
    """How many times as fast the code is. Raises ValueError if it does not do what the block
    does.
    """

    def usual(given: Sequence[torch.Tensor | None]) -> torch.Tensor:
        with _context(kind)():
            value: torch.Tensor = block(*given)
        return value

    def quick(given: Sequence[torch.Tensor | None]) -> torch.Tensor:
        return code([*(x for x in given if x is not None), *weights])

    with torch.inference_mode():
        for sizes in TRIED:
            given = drawn(kind.inputs, sizes, device)
            _compare(usual(given), quick(given))
        seconds = _seconds_of_processor if device.type == "cpu" else _seconds_of_device
        given = drawn(kind.inputs, timed_sizes(kind), device)
        usual(given), quick(given)
        pairs = [(seconds(usual, given), seconds(quick, given)) for _ in range(7)]
    return min(one for one, _ in pairs) / min(other for _, other in pairs)


def timed_sizes(kind: Kind) -> tuple[int, int, int]:
    """Rows, height and width by which code for this kind is judged."""
    picture = kind.inputs[0]
    if kind.device == "cpu" or picture is None:
        return TIMED
    side = int((MOST_ON_GPU / ROWS_ON_GPU / picture.width) ** 0.5) // 8 * 8
    return ROWS_ON_GPU, min(side, MOST_SIDE_ON_GPU), min(side, MOST_SIDE_ON_GPU)


def _compare(expected: torch.Tensor, found: torch.Tensor) -> None:
    if (expected.shape, expected.dtype) != (found.shape, found.dtype):
        raise ValueError(f"{found.dtype} {found.shape} instead of {expected.dtype}")
    # On a GPU torch itself changes layouts between layers; on a CPU the next block would have no
    # code.
    if expected.device.type == "cpu" and expected.stride() != found.stride():
        raise ValueError("another memory layout")
    difference = (expected.float() - found.float()).square().mean().sqrt()
    error = float(difference / expected.float().std())
    if not error <= LARGEST_ERROR.get(expected.dtype, 1e-2):
        raise ValueError(f"differs by {error:.1e}")


def _seconds_of_processor(function: Callable[..., Any], given: Any) -> float:
    # Not the clock's: other programs run beside this one.
    started = time.process_time()
    function(given)
    return time.process_time() - started


def _seconds_of_device(function: Callable[..., Any], given: Any) -> float:
    events: list[Any] = [torch.Event("cuda", enable_timing=True) for _ in range(2)]
    events[0].record()
    function(given)
    events[1].record()
    events[1].synchronize()
    return float(events[0].elapsed_time(events[1])) / 1000
