"""The contents of the LoRA folders, by file status alone: no file is opened here.

Subfolders are searched. A link is followed if its target is inside one of the given folders; other
links are listed but never followed. Hidden and temporary files, and everything that is neither a
regular file nor a link, are skipped. Files of other formats for LoRAs are listed too, so that their
owner learns why they are not offered.
"""

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from shared.loras.files import FileKey, is_regular, key_of

SUFFIX = ".safetensors"
FOREIGN_SUFFIXES = (".pt", ".pth", ".pkl", ".ckpt", ".bin", ".gguf", ".zip", ".7z", ".rar")
# Files beside NAME.safetensors with metadata, this service's own first.
NOTES = (".toml", ".civitai.info", ".metadata.json", ".cm-info.json", ".json")
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
PICTURES = tuple(f"{middle}{end}" for middle in (".preview", "") for end in _ENDINGS)
ADAPTER_CONFIG = "adapter_config.json"
_MAX_DEPTH = 8
_MAX_FILES = 20_000


class Note(NamedTuple):
    """A file beside a LoRA, identified by the end of its name."""

    kind: str
    path: Path
    key: FileKey


class Candidate(NamedTuple):
    """One LoRA file: its name in the catalogue, its stem, real path and status, the files beside
    it, its folder, and a picture in it.
    """

    name: str
    stem: str
    path: Path
    key: FileKey
    notes: tuple[Note, ...]
    folder: Path
    pictures: frozenset[str]
    is_foreign: bool = False

    @property
    def place(self) -> str:
        """Identifies this file among all that are listed."""
        return f"{self.folder}/{self.name}/{self.path.name}"


def list_folders(folders: Sequence[Path]) -> list[Candidate]:
    """Lists the LoRA files of all folders; a missing folder is empty."""
    roots = tuple(os.path.realpath(folder) for folder in folders)
    found: list[Candidate] = []
    for root in dict.fromkeys(roots):
        for candidate in _Walk(roots).files(root, "", (root,)):
            found.append(candidate)
            if len(found) == _MAX_FILES:
                return found
    return found


class _Walk:
    """One walk through the folders; knows which links may be followed."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots

    def files(self, folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[Candidate]:
        try:
            with os.scandir(folder) as scan:
                inside = sorted(scan, key=lambda entry: entry.name)
        except OSError:
            return
        entries = {entry.name: entry for entry in inside if not entry.name.startswith(".")}
        pictures = frozenset(name for name, entry in entries.items() if _is_picture(entry))
        for entry in entries.values():
            if _is_folder(entry):
                yield from self._folder(entry, prefix, above)
            elif entry.name.lower().endswith((SUFFIX, *FOREIGN_SUFFIXES)):
                yield from self._file(Path(folder), entry, prefix, entries, pictures)

    def _folder(
        self, entry: os.DirEntry[str], prefix: str, above: tuple[str, ...]
    ) -> Iterator[Candidate]:
        name = f"{prefix}{entry.name}"
        target = os.path.realpath(entry.path)
        if not _is_under(target, self._roots):
            key = _status(Path(entry.path))
            if key is not None:
                yield Candidate(
                    _normal(name), entry.name, Path(entry.path), key, (), Path(), frozenset()
                )
        elif target not in above and len(above) < _MAX_DEPTH:
            yield from self.files(target, f"{name}/", (*above, target))

    def _file(
        self,
        folder: Path,
        entry: os.DirEntry[str],
        prefix: str,
        entries: dict[str, os.DirEntry[str]],
        pictures: frozenset[str],
    ) -> Iterator[Candidate]:
        path = inner_target(Path(entry.path), self._roots)
        key = _status(path)
        if key is None:
            return
        is_foreign = not entry.name.lower().endswith(SUFFIX)
        stem = entry.name[: entry.name.rindex(".")]
        name = entry.name if is_foreign else stem
        notes = () if is_foreign else tuple(_notes(folder, stem, entries))
        yield Candidate(
            _normal(f"{prefix}{name}"), stem, path, key, notes, folder, pictures, is_foreign
        )


def _is_picture(entry: os.DirEntry[str]) -> bool:
    has_ending = entry.name.lower().endswith(_ENDINGS)
    return has_ending and entry.is_file(follow_symlinks=False)


def _notes(folder: Path, stem: str, entries: dict[str, os.DirEntry[str]]) -> Iterator[Note]:
    names = [(kind, f"{stem}{kind}") for kind in NOTES] + [(ADAPTER_CONFIG, ADAPTER_CONFIG)]
    for kind, name in names:
        if name in entries and entries[name].is_file(follow_symlinks=False):
            key = _status(folder / name)
            if key is not None:
                yield Note(kind, folder / name, key)


def notes_of(path: Path) -> tuple[Note, ...]:
    """The files beside one file."""
    try:
        with os.scandir(path.parent) as scan:
            entries = {entry.name: entry for entry in scan}
    except OSError:
        return ()
    return tuple(_notes(path.parent, path.stem, entries))


def own_picture(stem: str, pictures: frozenset[str]) -> str | None:
    """The picture that other programs would show for a LoRA with this stem."""
    return next((f"{stem}{end}" for end in PICTURES if f"{stem}{end}" in pictures), None)


def inner_target(path: Path, roots: Sequence[str]) -> Path:
    """The target of a link to a file inside one of the folders; any other path unchanged."""
    if not path.is_symlink():
        return path
    target = os.path.realpath(path)
    return Path(target) if _is_under(target, roots) else path


def _is_under(target: str, roots: Sequence[str]) -> bool:
    return any(Path(target).is_relative_to(root) for root in roots)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _status(path: Path) -> FileKey | None:
    """The key of a regular file or a link; None if it is gone or something else."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return key_of(status) if is_regular(status) or stat.S_ISLNK(status.st_mode) else None
