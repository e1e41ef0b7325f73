"""Converts a LoRA that was saved by torch (`.pkl`, `.pth`, `.pt`, `.bin`, `.ckpt`) to safetensors:
`python -m worker.conversion FILE`, which `retouch loras convert` starts.

Owns the conversion. torch's restricted reader opens the file, so no code in it runs. Tensors keep
their names; those in nested tables have the tables' names before them, separated by dots.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file

from shared.loras.header import refuse_other_formats
from shared.loras.reasons import Refused


class NotConvertible(Exception):
    """Raised when a file cannot be converted; the text says why."""


def main(arguments: list[str] | None = None) -> int:
    """Converts the files that are named. Exit status: 0, or 1 if one could not be converted."""
    parser = argparse.ArgumentParser("retouch loras convert", description=_DESCRIPTION)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, help="folder of the result; default: the file's own")
    options = parser.parse_args(arguments)
    failed = False
    for path in options.files:
        try:
            print(convert(path, options.into or path.parent))
        except NotConvertible as error:
            failed = True
            print(f"{path}: {error}", file=sys.stderr)
    return int(failed)


_DESCRIPTION = "Convert LoRAs saved by torch to safetensors, without running code in them."


def convert(path: Path, folder: Path) -> Path:
    """Writes NAME.safetensors into `folder` and returns its path. Raises NotConvertible."""
    target = folder / f"{path.stem}.safetensors"
    if target.exists():
        raise NotConvertible(f"{target} exists already; remove it first")
    tensors = dict(_tensors(_loaded(path)))
    if not tensors:
        raise NotConvertible("it has no tensors")
    _write(tensors, target)
    return target


def _loaded(path: Path) -> object:
    try:
        with path.open("rb") as file:
            refuse_other_formats(file.read(8))
        with warnings.catch_warnings():
            # Unusual protocols are read, or refused.
            warnings.filterwarnings("ignore", message=".*pickle protocol.*")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Refused as error:
        raise NotConvertible(error.finding.en) from error
    except UnpicklingError as error:
        raise NotConvertible(
            "it is damaged, or refers to more than tensors and plain values, and is not opened"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise NotConvertible(f"it cannot be read: {str(error).partition(chr(10))[0]}") from error


def _tensors(found: object, before: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor with its full name; other values, such as lists of modules, are left out."""
    if isinstance(found, torch.Tensor):
        # Tensors may share their memory; safetensors stores each by itself.
        yield before, found.detach().clone().contiguous()
    elif isinstance(found, Mapping):
        for name, value in found.items():
            yield from _tensors(value, f"{before}.{name}" if before else str(name))


def _write(tensors: dict[str, Any], target: Path) -> None:
    with TemporaryDirectory(dir=target.parent, prefix=".writing-") as folder:
        written = Path(folder) / target.name
        save_file(tensors, written, metadata={"format": "pt"})
        # safetensors makes files readable for the owner only; the service may run as another user.
        written.chmod(0o644)
        written.replace(target)


if __name__ == "__main__":
    raise SystemExit(main())
