"""Saves a run to disk so that it can be killed at any moment and continued.

Owns the file and its atomic replacement. The loop owns its contents.
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
    """Replaces `path` atomically; the old file remains until the new one is complete.

    Raises OutOfSpace if the disk is full; the incomplete file is removed.
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
    """Turns writers' errors about a full disk into OutOfSpace, which names `path`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_full(error):
            raise
        raise OutOfSpace(
            f"The disk has no room for {path.name}. Free some space and run the same command: "
            "training continues from the last checkpoint."
        ) from error


def _is_full(error: Exception) -> bool:
    """torch's and safetensors' writers report a failed write with their own errors."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    return "file write failed" in str(error) or "No space left" in str(error)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The last complete checkpoint, or None if none was written."""
    if not path.is_file():
        return None
    # Only tensors and plain values are ever stored, so nothing else is accepted.
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
