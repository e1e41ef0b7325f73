"""Compiles a part: torch.export, then TensorRT by torch-tensorrt.

Tests replace the `build` function; loading is torch's own.
Source: docs.pytorch.org/TensorRT, "Compiling Exported Programs" and "Saving models".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

Run = Callable[..., Any]


class CannotBuild(Exception):
    """Raised when this machine cannot build engines; the message says why and what to do."""


@dataclass(frozen=True)
class Compiler:
    """Builds engines. `name` and `versions` are part of an engine's key.

    `build` compiles a module for inputs of these shapes and writes the file.
    """

    name: str
    versions: tuple[str, ...]
    build: Callable[[torch.nn.Module, Sequence[torch.Tensor], Path], None]

    def load(self, path: Path) -> Run:
        """The built module on the device that it was built for."""
        module: Run = torch.export.load(path).module()
        return module


def tensorrt() -> Compiler:
    """TensorRT on this machine's NVIDIA device. Raises CannotBuild."""
    if not torch.cuda.is_available():
        raise CannotBuild(
            "TensorRT engines are built on the NVIDIA device that is to run them, and torch sees "
            "none here. Run `retouch doctor` for what is missing; without a device the worker "
            "computes with torch, and nothing has to be built."
        )
    try:
        library: Any = import_module("torch_tensorrt")
    except ImportError as error:
        raise CannotBuild(
            "torch-tensorrt is not installed: in a checkout of retouch, pip install '.[tensorrt]', "
            f"in the version that belongs to torch {torch.__version__} ({error})."
        ) from error

    def build(module: torch.nn.Module, inputs: Sequence[torch.Tensor], path: Path) -> None:
        exported = torch.export.export(module, tuple(inputs))
        compiled = library.dynamo.compile(exported, arg_inputs=list(inputs))
        library.save(compiled, str(path), arg_inputs=list(inputs))

    names = ("torch", "torch-tensorrt", "tensorrt", "diffusers")
    return Compiler("tensorrt", tuple(f"{name} {version(name)}" for name in names), build)
