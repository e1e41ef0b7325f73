"""Loads a folder of photos and cuts crops from it.

Owns decoding, the held-out split and the crops' randomness. Knows nothing of damage and models.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from worker.training.errors import NoPhotos

Pixels = NDArray[np.uint8]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
MIN_PHOTOS = 2


@dataclass(frozen=True)
class Photo:
    """One decoded photo, uint8 [H, W, 3], with its file's stem and its caption, if any."""

    name: str
    pixels: Pixels
    caption: str = ""


@dataclass
class PhotoSet:
    """Photos for training, photos held out, and the unusable files with the reason."""

    training: list[Photo]
    held_out: list[Photo]
    skipped: dict[str, str] = field(default_factory=dict)


def load_photos(folder: Path, crop: int, held_out: int, max_side: int) -> PhotoSet:
    """Decodes every picture in `folder`; large ones are scaled down to `max_side`.

    A file that cannot be decoded or is smaller than `crop` is named in `skipped`. Every n-th photo
    by name is held out, so that the split is the same in every run. `name.txt` beside a picture is
    its caption. Raises NoPhotos if fewer than two pictures are left.
    """
    photos: list[Photo] = []
    skipped: dict[str, str] = {}
    for path in _pictures(folder):
        try:
            pixels = _decode(path, max_side)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            skipped[path.name] = f"cannot be read: {error}"
            continue
        if min(pixels.shape[:2]) < crop:
            skipped[path.name] = f"is smaller than the crop of {crop} pixels"
            continue
        photos.append(Photo(path.stem, pixels, _caption(path)))
    if len(photos) < MIN_PHOTOS:
        raise NoPhotos(_too_few(folder, photos, skipped))
    return _split(photos, skipped, held_out)


def _pictures(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        raise NoPhotos(f"{folder} is not a folder. Name a folder that holds your photos.")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file())


def _decode(path: Path, max_side: int) -> Pixels:
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    if max(picture.size) > max_side:
        picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _caption(path: Path) -> str:
    beside = path.with_suffix(".txt")
    return beside.read_text("utf-8", errors="replace").strip() if beside.is_file() else ""


def _too_few(folder: Path, photos: list[Photo], skipped: dict[str, str]) -> str:
    text = f"{folder} holds {len(photos)} usable photos, and training needs {MIN_PHOTOS} or more."
    return text + "".join(f"\n  {name} {why}" for name, why in skipped.items())


def _split(photos: list[Photo], skipped: dict[str, str], held_out: int) -> PhotoSet:
    count = min(held_out, len(photos) // 2)
    if not count:
        return PhotoSet(photos, [], skipped)
    every = len(photos) // count
    chosen = set(range(0, every * count, every))
    return PhotoSet(
        [photo for index, photo in enumerate(photos) if index not in chosen],
        [photo for index, photo in enumerate(photos) if index in chosen],
        skipped,
    )


def without_colour(pixels: Pixels) -> Pixels:
    """The luma in all three colours."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    return np.repeat(grey[..., None], 3, axis=2)


def random_crop(photos: list[Photo], crop: int, random: np.random.Generator) -> Photo:
    """A square of `crop` pixels, randomly mirrored and rotated; large photos are drawn more often.

    Half of them are cut larger and scaled down, so that the same objects occur in several sizes and
    sharp to the pixel. In half of the cases the busier of two positions is used.
    """
    first = _cut(photos, crop, random)
    if random.random() >= 0.5:
        return first
    other = _cut(photos, crop, random)
    return max(first, other, key=lambda photo: _busyness(photo.pixels))


def _busyness(pixels: Pixels) -> float:
    return float(np.abs(np.diff(pixels[..., 1].astype(np.int16), axis=1)).mean())


def _cut(photos: list[Photo], crop: int, random: np.random.Generator) -> Photo:
    areas = np.array([photo.pixels.shape[0] * photo.pixels.shape[1] for photo in photos])
    photo = photos[random.choice(len(photos), p=_share(areas))]
    height, width = photo.pixels.shape[:2]
    side = _side(crop, min(height, width), random)
    top = int(random.integers(height - side + 1))
    left = int(random.integers(width - side + 1))
    square = _scaled(photo.pixels[top : top + side, left : left + side], crop)
    square = np.rot90(square, int(random.integers(4)))
    if random.random() < 0.5:
        square = square[:, ::-1]
    return Photo(photo.name, np.ascontiguousarray(square), photo.caption)


def _side(crop: int, most: int, random: np.random.Generator) -> int:
    if random.random() < 0.5:
        return crop
    return int(random.integers(crop, min(most, 2 * crop) + 1))


def _scaled(square: Pixels, crop: int) -> Pixels:
    if square.shape[0] == crop:
        return square
    picture = Image.fromarray(np.ascontiguousarray(square))
    return np.asarray(picture.resize((crop, crop), Image.Resampling.LANCZOS))


def _share(areas: NDArray[np.int64]) -> NDArray[np.float64]:
    weight = np.sqrt(areas.astype(np.float64))
    return np.asarray(weight / weight.sum())
