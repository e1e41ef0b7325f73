"""diffusers' bare loop with its UNet compiled by torch, and LoRAs swapped in place, as diffusers'
documentation recommends if several LoRAs share one compiled model.

Runs in a separate process, so that the compiler's memory counts for this system only.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open

from benchmarks.peer_servers.pipeline import Pipeline, Wish
from worker.engine.compiled.toolchain import compiler, has_compiler

ADAPTER = "swapped"

_pipeline: "CompiledPipeline | None" = None


class CompiledPipeline(Pipeline):
    """At most one LoRA is loaded; the next one replaces it without another compilation."""

    def __init__(self, loras: Path) -> None:
        super().__init__(loras, resident=False)
        # A single LoRA needs no room for others, which is as wide as the widest of them.
        if len(self._names) > 1:
            self._pipeline.enable_lora_hotswap(target_rank=largest_rank(loras))
        if self._names:
            self.activate(self._names[0])
        self._pipeline.unet.compile()

    def activate(self, lora: str) -> None:
        if lora != self._active:
            self._pipeline.load_lora_weights(
                str(self._folder),
                weight_name=f"{lora}.safetensors",
                adapter_name=ADAPTER,
                hotswap=self._active != "none",
            )
        self._active = lora


@contextmanager
def compiled_pipeline(loras: Path) -> Iterator[tuple[Callable[[Wish], bytes], int]]:
    """A function that makes a picture, and the id of its process.

    Raises RuntimeError if torch finds no compiler.
    """
    if not has_compiler():
        raise RuntimeError(f"torch.compile needs a C++ compiler; {compiler()} is not installed")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _begin, (loras,)) as process:
        pid = process.submit(os.getpid).result()
        yield lambda wish: process.submit(_picture, wish).result(), pid


def _begin(loras: Path) -> None:
    global _pipeline
    _pipeline = CompiledPipeline(loras)


def _picture(wish: Wish) -> bytes:
    assert _pipeline is not None
    return _pipeline.pictures([wish])[0]


def largest_rank(loras: Path) -> int:
    return max(_rank(path) for path in loras.glob("*.safetensors"))


def _rank(path: Path) -> int:
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if ".lora_A." in name or "down" in name]  # noqa: SIM118
        return max(int(file.get_slice(name).get_shape()[0]) for name in names)
