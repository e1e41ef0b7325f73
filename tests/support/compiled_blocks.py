"""A small network whose blocks run compiled, and code for blocks without a compiler."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D

from tests.support.wait import wait_until
from worker.engine.compiled.background import Background, Wanted
from worker.engine.compiled.regions import Kind, skeleton
from worker.engine.compiled.use import CompiledBlocks

# For the compiler, on a machine where other tests run.
SECONDS = 170


class Network(torch.nn.Module):
    """Two blocks of one kind."""

    blocks: Any

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(
            ResnetBlock2D(in_channels=16, temb_channels=24, groups=4) for _ in range(2)
        )
        self.eval().to(memory_format=torch.channels_last)

    def forward(self, picture: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            picture = block(picture, temb)
        return picture


class Running:
    """A network with compiled blocks, and the same one without."""

    def __init__(self, background: Any) -> None:
        self.network = Network()
        self.usual = deepcopy(self.network)
        self.background = background
        self.blocks = CompiledBlocks({"unet": self.network}, self.background)

    def settle(self) -> None:
        """Asks for the blocks' kind, and waits for what comes of it."""
        self.run(*inputs())
        (wanted,) = self.background._wanted.values()
        wait_until(lambda: wanted.is_settled, description="the kind to be settled", seconds=SECONDS)

    @torch.inference_mode()
    def run(self, *given: torch.Tensor) -> tuple[torch.Tensor, set[str]]:
        """The network's output, and what computed its blocks."""
        with self.blocks.listening() as names:
            return self.network(*given), names

    @torch.inference_mode()
    def run_usual(self, *given: torch.Tensor) -> torch.Tensor:
        expected: torch.Tensor = self.usual(*given)
        return expected


def inputs(rows: int = 1, height: int = 12, width: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    picture = torch.randn(rows, 16, height, width).contiguous(memory_format=torch.channels_last)
    return picture, torch.randn(rows, 24)


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    """The likeness of two outputs in decibels, of their own range."""
    error = (one - other).square().mean()
    return float(10 * torch.log10((other.max() - other.min()).square() / error.clamp_min(1e-20)))


@contextmanager
def running(folder: Path, makes: bool = False) -> Iterator[Running]:
    """After a start with this folder; with `makes`, code that is missing is made at once."""
    each = Running(Background(folder, makes, patience=0, niceness=0))
    try:
        yield each
    finally:
        each.blocks.close()


class Standing:
    """In the background's place: blocks as they are, as functions of inputs and weights."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls = 0
        self.generation = 0

    def want(self, kind: Kind, module: torch.nn.Module) -> Wanted:
        block = skeleton(module)
        names = [name for name, _ in module.named_parameters()]
        pattern = [each is not None for each in kind.inputs]

        def code(given: list[torch.Tensor]) -> torch.Tensor:
            self.calls += 1
            values = iter(given)
            tensors = [next(values) if is_tensor else None for is_tensor in pattern]
            value: torch.Tensor = torch.func.functional_call(
                block, dict(zip(names, values, strict=True)), tuple(tensors)
            )
            return value

        return Wanted(kind, module, code=code, is_settled=True)  # type: ignore[arg-type]

    def give_up(self, _wanted: Wanted, reason: BaseException) -> None:
        raise reason

    def shown(self) -> dict[str, Any]:
        return {"state": "ready"}

    def close(self) -> None:
        pass
