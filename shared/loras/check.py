"""Judges one file by itself, before it is offered, for `retouch loras check FILE`.

Uses the same rules as the catalogue. If the modules of the file's base are given, every layer is
looked up there.
"""

import os
from pathlib import Path
from types import MappingProxyType

from shared.loras.assembly import make_entry
from shared.loras.entry import LoraEntry
from shared.loras.files import FileKey
from shared.loras.folder import FOREIGN_SUFFIXES, SUFFIX, inner_target, notes_of
from shared.loras.inspection import Bases, Inspection, inspect_file
from shared.loras.neighbours import read_adapter_config, read_neighbours
from shared.loras.plans import known_modules
from shared.loras.reasons import Finding, Reason, unreadable
from shared.loras.release import read_releases
from shared.loras.sidecar import completed, read_sidecar

_NO_FILE = FileKey(0, 0, 0, 0, 0)
_BY_SUFFIX = {".gguf": Reason.GGUF, **dict.fromkeys((".zip", ".7z", ".rar"), Reason.ARCHIVE)}


def check_for_service(path: Path, base_model: str) -> LoraEntry:
    """The entry that the file would have in a service with this base; the layers of a file for
    another family are looked up in that family's published modules.
    """
    return check_file(path, known_modules(base_model))


def check_file(path: Path, bases: Bases = MappingProxyType({})) -> LoraEntry:
    """The entry that the file would have; an unreadable file is quarantined."""
    is_named = path.name.lower().endswith((SUFFIX, *FOREIGN_SUFFIXES))
    stem = path.name[: path.name.rindex(".")] if is_named else path.name
    seen = _inspect(path, stem, bases)
    notes = notes_of(path)
    sidecar = completed(
        read_sidecar(path.with_name(f"{stem}.toml")), read_neighbours(notes, dict(seen.metadata))
    )
    note = read_releases(path.parent).get(seen.sha256)
    config = read_adapter_config(notes)
    return make_entry(path.absolute(), stem, seen, sidecar, note, None, None, config)


def _inspect(path: Path, stem: str, bases: Bases) -> Inspection:
    if not path.name.lower().endswith(SUFFIX):
        return foreign_file(path, _NO_FILE)
    try:
        target = inner_target(path, (os.path.realpath(path.parent),))
        return inspect_file(target, stem, bases=bases)
    except OSError as error:
        return Inspection(_NO_FILE, (unreadable(error),))


def foreign_file(path: Path, key: FileKey) -> Inspection:
    """The verdict on a file of another format, which is never opened."""
    reason = _BY_SUFFIX.get(path.suffix.lower(), Reason.WRONG_SUFFIX)
    return Inspection(key, (Finding(reason, {}),))
