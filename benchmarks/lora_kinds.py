"""The cost of each kind of LoRA: merging it into a layer, and reading a large file.

    python -m benchmarks.lora_kinds [--side 1280] [--rank 16] [--repeats 30]

Prints, for a square linear layer in float32 on one thread, the least processor time of `repeats`
merges of each kind beside that of a plain low-rank pair, and the memory of its tensors; then the
processor time of reading a file of 700 layers as the worker does.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from benchmarks.machine import describe_machine
from shared.loras.check import check_file
from worker.engine.lora.changes import Change
from worker.engine.lora.lora_file import read_adapter

DEPTH = 70
LEAVES = (
    *(f"attn{n}.to_{part}" for n in (1, 2) for part in ("q", "k", "v", "out.0")),
    *("ff.net.0.proj", "ff.net.2"),
)
PATHS = [
    f"mid_block.attentions.0.transformer_blocks.{depth}.{leaf}"
    for depth in range(DEPTH)
    for leaf in LEAVES
]
Tensors = dict[str, torch.Tensor]
# A layer's tensors by the ends of their names.
Kind = Callable[[int, int], Tensors]


def plain(side: int, rank: int) -> Tensors:
    return {"lora_down.weight": noise(rank, side), "lora_up.weight": noise(side, rank)}


def dora(side: int, rank: int) -> Tensors:
    return plain(side, rank) | {"dora_scale": noise(side, 1).abs()}


def loha(side: int, rank: int) -> Tensors:
    return {
        f"hada_w{half}_{letter}": noise(*shape)
        for half in (1, 2)
        for letter, shape in (("a", (side, rank)), ("b", (rank, side)))
    }


def lokr(side: int, _rank: int) -> Tensors:
    return {"lokr_w1": noise(8, 8), "lokr_w2": noise(side // 8, side // 8)}


def low_lokr(side: int, rank: int) -> Tensors:
    large = side // 8
    return {
        "lokr_w1": noise(8, 8),
        "lokr_w2_a": noise(large, rank),
        "lokr_w2_b": noise(rank, large),
    }


def glora(side: int, rank: int) -> Tensors:
    shapes = {"a1": (side, rank), "a2": (rank, side), "b1": (side, rank), "b2": (rank, side)}
    return {f"{name}.weight": noise(*shape) for name, shape in shapes.items()}


def oft(side: int, _rank: int) -> Tensors:
    return {"oft_blocks": noise(side // 8, 8, 8)}


def whole(side: int, _rank: int) -> Tensors:
    return {"diff": noise(side, side)}


KINDS: dict[str, Kind] = {
    "low-rank pair": plain,
    "DoRA": dora,
    "LoHa": loha,
    "LoKr, whole": lokr,
    "LoKr, low-rank": low_lokr,
    "GLoRA": glora,
    "OFT, blocks of 8": oft,
    "whole difference": whole,
}


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape) * 0.02


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--side", type=int, default=1280)
    options.add_argument("--rank", type=int, default=16)
    options.add_argument("--repeats", type=int, default=30)
    asked = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        show_merges(Path(name), asked.side, asked.rank, asked.repeats)
        show_reading(Path(name), asked.side, asked.rank)


def show_merges(folder: Path, side: int, rank: int, repeats: int) -> None:
    """One line a kind."""
    print(f"{'kind':20}{'ms':>8}{'of plain':>10}{'KiB':>8}")
    base, first = network(side, PATHS[:1]), 0.0
    weight = base.unet.get_parameter(f"{PATHS[0]}.weight")
    for kind, make in KINDS.items():
        (change,) = changes(folder, base, {PATHS[0]: make(side, rank)})
        seconds = best(lambda change=change: weight.add_(change.delta(weight), alpha=0.1), repeats)
        first = first or seconds
        size = change.size_bytes / 1024
        print(f"{kind:20}{1000 * seconds:8.2f}{seconds / first:10.2f}{size:8.0f}")


def show_reading(folder: Path, side: int, rank: int) -> None:
    base = network(side, PATHS)
    tensors = {path: plain(side, rank) for path in PATHS}
    began = time.process_time()
    found = changes(folder, base, tensors, forget=True)
    seconds, size = time.process_time() - began, sum(one.size_bytes for one in found) / 2**20
    print(f"a file of {len(found)} layers, {size:.0f} MiB: {seconds:.2f} s of processor time")


def network(side: int, paths: Sequence[str]) -> SimpleNamespace:
    """A UNet's names around square layers, whose weights share their memory."""
    weight = noise(side, side)
    unet = torch.nn.Module()
    for path in paths:
        layer = torch.nn.Linear(side, side, bias=False, device="meta")
        layer.weight = torch.nn.Parameter(weight)
        put(unet, path, layer)
    return SimpleNamespace(unet=unet)


def put(root: torch.nn.Module, path: str, layer: torch.nn.Module) -> None:
    *above, last = path.split(".")
    for name in above:
        if name not in dict(root.named_children()):
            root.add_module(name, torch.nn.Module())
        root = root.get_submodule(name)
    root.add_module(last, layer)


def changes(
    folder: Path, base: SimpleNamespace, layers: dict[str, Tensors], *, forget: bool = False
) -> list[Change]:
    """The changes as the worker reads them from a file."""
    path = folder / "measured.safetensors"
    named = dict(names(layers))
    save_file(named, path)
    if forget:
        named.clear()
        layers.clear()
    entry = check_file(path)
    found = read_adapter(base, entry).parts["unet"]
    return list(found.values())


def names(layers: dict[str, Tensors]) -> Iterator[tuple[str, torch.Tensor]]:
    for path, tensors in layers.items():
        stem = f"lora_unet_{path.replace('.', '_')}"
        yield from ((f"{stem}.{end}", tensor) for end, tensor in tensors.items())


def best(action: Callable[[], object], repeats: int) -> float:
    """The processor time of the fastest call, in seconds, after one that does not count."""
    action()
    spent = []
    for _ in range(repeats):
        began = time.thread_time()
        action()
        spent.append(time.thread_time() - began)
    return min(spent)


if __name__ == "__main__":
    main()
