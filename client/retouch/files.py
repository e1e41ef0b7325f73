"""Pictures on this machine's disk: written completely, and never over one another.

Owns the names of results, shortened if they would be too long for a disk. Knows nothing of the
service.
"""

import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from retouch.job_fields import PictureFormat

EXTENSIONS: dict[PictureFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
FORMATS: dict[str, PictureFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
}
# Formats that are accepted but not produced.
NOT_MADE = frozenset({".heic", ".heif", ".hif", ".avif", ".tif", ".tiff", ".bmp", ".gif"})
PHOTOS = frozenset(FORMATS) | NOT_MADE
# Length limit of a file's name that applies on every common disk.
MOST_BYTES = 255
COMPARISON = "_before_after.png"
# Length limit of the names made here, so that extensions can be added.
LONGEST_OWN = MOST_BYTES - len(COMPARISON)


class BadOutput(Exception):
    """Raised when results cannot be written where the caller asks; its text says why."""


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that a partial file is never visible."""
    temporary = path.with_name(f".{uuid4().hex}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def format_of(out: Path | None) -> PictureFormat | None:
    """The picture format for a file's extension, if it has one."""
    return FORMATS.get(out.suffix.lower()) if out else None


def is_folder(out: str) -> bool:
    """Whether an output is a folder: it exists as one, or ends with a slash."""
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


def output_paths(photos: Sequence[Path], out: str | None, extension: str = "") -> list[Path]:
    """The paths of the photos' results, in the photos' order.

    One photo: the file `out`, or a file in it if `is_folder`. Several: files in the folder `out`,
    with their own stems. Without `out`: beside each photo, as `NAME_enhanced`. Equal names get a
    number, and a photo itself is never overwritten. Without an `extension`, the results' own
    extension still has to be added to every name except that of a file `out`. Raises BadOutput.
    """
    if out is None:
        beside = [photo.with_name(f"{photo.stem}_enhanced") for photo in photos]
        return _numbered(beside, extension, taken=Path.exists)
    if len(photos) == 1 and not is_folder(out):
        return [_checked(photos[0], Path(out))]
    if Path(out).is_file():
        raise BadOutput(f"{out} is a file; several pictures need a folder.")
    originals = {_key(photo) for photo in photos}
    inside = [Path(out) / photo.stem for photo in photos]
    return _numbered(inside, extension, taken=lambda path: _key(path) in originals)


def with_ending(path: Path, ending: str, room: int = MOST_BYTES) -> Path:
    """The path with this ending added to its name, which is shortened to make room."""
    return path.with_name(shortened(path.name, room - len(ending)) + ending)


def free_path(bare: Path, ending: str) -> Path:
    """The path with this ending, or with a number if such a file exists already."""
    return _numbered([bare], ending, taken=Path.exists)[0]


def shortened(name: str, room: int) -> str:
    """As much of a name as fits into this many bytes, without separating a letter from its
    accents.
    """
    while len(os.fsencode(name)) > room:
        mark = unicodedata.combining(name[-1])
        name = name[:-1]
        while mark and name:
            mark, name = unicodedata.combining(name[-1]), name[:-1]
    return name


def comparison_path(picture: Path) -> Path:
    """The path of a result's before/after picture: beside the result."""
    bare = picture.with_name(picture.stem.removesuffix("_enhanced"))
    return with_ending(bare, COMPARISON)


def _numbered(wanted: Sequence[Path], extension: str, taken: Callable[[Path], bool]) -> list[Path]:
    given: set[str] = set()
    paths = []
    for first in wanted:
        path, number = with_ending(first, extension, LONGEST_OWN), 1
        while _key(path) in given or any(taken(each) for each in _files_of(path, extension)):
            number += 1
            path = with_ending(first, f"-{number}{extension}", LONGEST_OWN)
        given.add(_key(path))
        paths.append(path)
    return paths


def _files_of(path: Path, extension: str) -> list[Path]:
    """The file, or all names that it may get if its extension is open."""
    if extension:
        return [path]
    return [with_ending(path, ending) for ending in EXTENSIONS.values()]


def _checked(photo: Path, out: Path) -> Path:
    if out.suffix.lower() in NOT_MADE:
        raise BadOutput(
            f"{out.suffix} files are not produced; name the output .jpg, .png or .webp."
        )
    if _key(photo) == _key(out):
        raise BadOutput(f"{out} is the photo itself; choose another name for the picture.")
    return out


def _key(path: Path) -> str:
    """One key for all spellings of a file, also on disks that ignore case."""
    return unicodedata.normalize("NFC", str(path.resolve())).casefold()
