"""Reads a LoRA's bytes for use: exactly the file that was checked, or an error.

Between the catalogue's check and the worker's load a file can be replaced. The returned memory is
the one whose digest was compared, so nothing can change in between.
"""

import hashlib
import os
from pathlib import Path

from shared.errors import LoraChanged
from shared.loras.entry import LoraEntry
from shared.loras.files import open_file


def read_checked(entry: LoraEntry) -> bytes:
    """The bytes of an entry's file.

    Raises LoraChanged if the file is gone or is no longer the one that was checked.
    """
    data = read_exactly_as_checked(entry.path, entry.size_bytes, entry.sha256)
    if data is None:
        raise LoraChanged(f"The LoRA '{entry.name}' was replaced or removed after it was checked.")
    return data


def read_exactly_as_checked(path: Path, size_bytes: int, sha256: str) -> bytes | None:
    """A file's bytes; None if it is gone, or no longer has this size and digest."""
    try:
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size != size_bytes:
                return None
            data = file.read()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None
