"""Judging one file for itself, as `retouch loras check FILE` does before it is offered.

The same judgement as the catalogue's, but for no running base in particular.
"""

from pathlib import Path

from shared.loras.assembly import make_entry
from shared.loras.entry import LoraEntry
from shared.loras.files import FileKey
from shared.loras.folder import SUFFIX, inner_target
from shared.loras.inspection import Inspection, inspect_file
from shared.loras.reasons import Finding, Reason, unreadable
from shared.loras.release import read_releases
from shared.loras.sidecar import read_sidecar

_NO_FILE = FileKey(0, 0, 0, 0, 0)


def check_file(path: Path) -> LoraEntry:
    """The entry that the file would have; a file that cannot be read is a held back one."""
    stem = path.name.removesuffix(SUFFIX)
    seen = _inspect(path, stem)
    sidecar = read_sidecar(path.with_name(f"{stem}.toml"))
    note = read_releases(path.parent).get(seen.sha256)
    return make_entry(path.absolute(), stem, seen, sidecar, note, base=None)


def _inspect(path: Path, stem: str) -> Inspection:
    if not path.name.endswith(SUFFIX):
        return Inspection(_NO_FILE, (Finding(Reason.WRONG_SUFFIX, {}),))
    try:
        return inspect_file(inner_target(path), stem)
    except OSError as error:
        return Inspection(_NO_FILE, (unreadable(error),))
