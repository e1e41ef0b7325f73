"""What lies in the LoRA folder, by file status alone: no file is opened here.

Hidden and temporary files, and whatever is neither a regular file nor a link, are passed over.
Links that lead out of the folder are listed as they are and never followed. Folders inside the
folder are not searched.
"""

import os
import stat
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
    path = inner_target(Path(root, entry.name))
    key = _status(path)
    if key is None:
        return None
    stem = entry.name.removesuffix(SUFFIX)
    sidecar = stem + _SIDECAR_SUFFIX
    return Candidate(stem, path, key, _status(Path(root, sidecar)) if sidecar in plain else None)


def inner_target(path: Path) -> Path:
    """What a link to a file of its own folder leads to; any other path as it is."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    return target if target.is_relative_to(os.path.realpath(path.parent)) else path


def _status(path: Path) -> FileKey | None:
    """The key of a regular file or a link; None when it is gone or something else."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return key_of(status) if is_regular(status) or stat.S_ISLNK(status.st_mode) else None
