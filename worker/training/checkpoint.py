"""Keeps a run on disk so that it can be killed at any moment and go on.

Owns the file and its atomic replacement. What is in it is the loop's business.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from worker.training.errors import OutOfSpace

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` in one move; what stood there stays until the new one is whole.

    Raises OutOfSpace where the disk is full; the half-written file is removed.
    """
    unfinished = path.with_suffix(".writing")
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.save(state, unfinished)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.replace(path)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Turns what a full disk makes writers raise into OutOfSpace, which names `path`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_full(error):
            raise
        raise OutOfSpace(
            f"The disk has no room for {path.name}. Free some space and run the same command: "
            "training goes on from the last checkpoint."
        ) from error


def _is_full(error: Exception) -> bool:
    """torch's and safetensors' writers report a failed write as errors of their own."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    return "file write failed" in str(error) or "No space left" in str(error)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The last whole checkpoint, or None where none was written."""
    if not path.is_file():
        return None
    # Nothing but tensors and plain values is ever stored, so nothing else is let in.
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
