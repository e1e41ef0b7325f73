"""Pictures on this machine's disk: written whole, and never over one another.

Owns the names that results get. Knows nothing of the service.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from retouch.job_fields import PictureFormat

EXTENSIONS: dict[PictureFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
FORMATS: dict[str, PictureFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}


class BadOutput(Exception):
    """Raised when results cannot be written where the caller asks; its text says why."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def format_of(out: Path | None) -> PictureFormat | None:
    """The picture format that a file's name asks for, if it asks for one."""
    return FORMATS.get(out.suffix.lower()) if out else None


def is_folder(out: str) -> bool:
    """Whether an output is a folder: it exists as one, or is written with a slash at its end."""
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


def output_paths(photos: Sequence[Path], out: str | None, extension: str) -> list[Path]:
    """Where each photo's result goes, in the photos' order.

    One photo: the file `out`, or into it where `is_folder`. Several: into the folder `out`, under
    their own stems. No `out`: beside each photo, as `NAME_enhanced`. Names that would meet get a
    number, and a photo itself is never written over. Raises BadOutput.
    """
    if out is None:
        beside = [photo.with_name(f"{photo.stem}_enhanced{extension}") for photo in photos]
        return _numbered(beside, taken=Path.exists)
    if len(photos) == 1 and not is_folder(out):
        return [_not_the_photo(photos[0], Path(out))]
    if Path(out).is_file():
        raise BadOutput(f"{out} is a file; several pictures need a folder.")
    originals = {_key(photo) for photo in photos}
    inside = [Path(out) / f"{photo.stem}{extension}" for photo in photos]
    return _numbered(inside, taken=lambda path: _key(path) in originals)


def comparison_path(picture: Path) -> Path:
    """Where the before/after picture of a result goes: beside it."""
    return picture.with_name(f"{picture.stem.removesuffix('_enhanced')}_before_after.png")


def _numbered(wanted: Sequence[Path], taken: Callable[[Path], bool]) -> list[Path]:
    given: set[str] = set()
    paths = []
    for first in wanted:
        path, number = first, 1
        while _key(path) in given or taken(path):
            number += 1
            path = first.with_name(f"{first.stem}-{number}{first.suffix}")
        given.add(_key(path))
        paths.append(path)
    return paths


def _not_the_photo(photo: Path, out: Path) -> Path:
    if _key(photo) == _key(out):
        raise BadOutput(f"{out} is the photo itself; choose another name for the picture.")
    return out


def _key(path: Path) -> str:
    """One key for all spellings of a file, also where the disk ignores case."""
    return str(path.resolve()).casefold()
