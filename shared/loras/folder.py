"""What lies in the LoRA folder, by file status alone: no file is opened here.

Links that lead out of the folder, hidden and temporary files, and whatever is not a regular file
are passed over. Folders inside the folder are not searched.
"""

import os
from pathlib import Path
from typing import NamedTuple

from shared.loras.files import FileKey, is_regular, key_of

SUFFIX = ".safetensors"
_SIDECAR_SUFFIX = ".toml"


class Candidate(NamedTuple):
    """One LoRA file: its real path and status, and the status of its sidecar."""

    stem: str
    path: Path
    key: FileKey
    sidecar: FileKey | None


class Listing(NamedTuple):
    """The LoRA files of a folder, and the names of all plain files (samples among them)."""

    candidates: list[Candidate]
    plain_files: frozenset[str]


def list_folder(folder: Path) -> Listing:
    """List a folder; a missing one is empty."""
    try:
        root = os.path.realpath(folder)
        with os.scandir(root) as scan:
            found = {entry.name: entry for entry in scan if not entry.name.startswith(".")}
    except OSError:
        return Listing([], frozenset())
    plain = frozenset(name for name, entry in found.items() if entry.is_file(follow_symlinks=False))
    names = sorted(name for name in found if name.endswith(SUFFIX))
    candidates = (_candidate(root, found[name], plain) for name in names)
    return Listing([candidate for candidate in candidates if candidate], plain)


def _candidate(root: str, entry: os.DirEntry[str], plain: frozenset[str]) -> Candidate | None:
    path = Path(os.path.realpath(entry.path) if entry.is_symlink() else entry.path)
    key = _status(path) if path.is_relative_to(root) else None
    if key is None:
        return None
    stem = entry.name.removesuffix(SUFFIX)
    sidecar = stem + _SIDECAR_SUFFIX
    return Candidate(stem, path, key, _status(Path(root, sidecar)) if sidecar in plain else None)


def _status(path: Path) -> FileKey | None:
    """The key of a regular file; None when it is gone or something else."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return key_of(status) if is_regular(status) else None
