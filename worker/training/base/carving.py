"""Finds photos in Debian packages: picture files, and pictures inside resource archives.

Owns downloading by package name, extraction and the test for photos. Knows nothing of training.
"""

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.training.errors import TrainingError

# Scaling down removes a photo's own compression; below this side too little is left to train on.
SHRINK = 1.4
MAX_SIDE = 1400
MIN_SIDE = 280
MIN_BYTES = 15_000
# Drawings and screenshots have many equal neighbours; photos have grain.
MAX_FLAT = 0.22

_PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
_ARCHIVE = ".rcc"
_STREAM = re.compile(rb"RIFF....WEBPVP8|\xff\xd8\xff[\xe0\xe1]", re.DOTALL)
_LONGEST_JPEG = 8_000_000


@dataclass(frozen=True)
class Found:
    """One photo: its name in the recipe, and its pixels, scaled down."""

    name: str
    picture: Image.Image


def download(packages: list[str], folder: Path) -> None:
    """Downloads missing packages by `apt-get download`. Raises TrainingError if apt fails."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in packages if not list(folder.glob(f"{name}_*.deb"))]
    if not missing:
        return
    command = ["apt-get", "download", *missing]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise TrainingError(
            "There is no apt-get here. Run this on Debian, or put the packages that the recipe "
            f"names into {folder}."
        ) from error
    except subprocess.CalledProcessError as error:
        raise TrainingError(
            f"apt-get could not download {', '.join(missing)}: {error.stderr.strip()}"
        ) from error


def collect(debs: Path, wanted: set[str], photos: Path) -> int:
    """Writes the wanted photos of all packages in `debs` as PNG; returns how many there are."""
    photos.mkdir(parents=True, exist_ok=True)
    for deb in sorted(debs.glob("*.deb")):
        for found in photos_in(deb):
            if found.name in wanted:
                found.picture.save(photos / f"{found.name}.png", compress_level=1)
    return len(list(photos.glob("*.png")))


def photos_in(deb: Path) -> Iterator[Found]:
    """Every photo-like picture in a package, named PACKAGE__FILE_NUMBER."""
    package = deb.name.split("_")[0]
    for path, content in members(deb):
        streams = list(carved(content)) if path.suffix == _ARCHIVE else [content]
        for number, stream in enumerate(streams):
            picture = _photo(stream)
            if picture is not None:
                yield Found(f"{package}__{path.stem}_{number}", picture)


def members(deb: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The pictures and resource archives in a package, except very small ones."""
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
    ):
        for member in archive:
            path = PurePosixPath(member.name)
            known = path.suffix.lower() in _PICTURES | {_ARCHIVE}
            if member.isfile() and member.size >= MIN_BYTES and known:
                opened = archive.extractfile(member)
                if opened is not None:
                    yield path, opened.read()


def carved(content: bytes) -> Iterator[bytes]:
    """WebP and JPEG streams inside a larger file. A WebP contains its length; the decoder finds a
    JPEG's end.
    """
    end = 0
    for match in _STREAM.finditer(content):
        start = match.start()
        if start < end:
            continue
        if content[start : start + 4] == b"RIFF":
            end = start + 8 + int.from_bytes(content[start + 4 : start + 8], "little")
            yield content[start:end]
        else:
            yield content[start : start + _LONGEST_JPEG]


def _photo(stream: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(stream)) as opened:
            if min(opened.size) < MIN_SIDE or _is_see_through(opened):
                return None
            picture = _shrunk(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return picture if flatness(np.asarray(picture)) <= MAX_FLAT else None


def _is_see_through(picture: Image.Image) -> bool:
    if picture.mode not in ("RGBA", "LA", "P"):
        return False
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    return bool((alpha < 255).mean() > 0.01)


def _shrunk(picture: Image.Image) -> Image.Image:
    factor = min(1 / SHRINK, MAX_SIDE / max(picture.size))
    width, height = (round(side * factor) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def flatness(pixels: NDArray[np.uint8]) -> float:
    """The share of pixels that equal their right neighbour."""
    steps = np.abs(np.diff(pixels.astype(np.int16), axis=1)).sum(axis=-1)
    return float((steps == 0).mean())
