"""Collects the material of marks: photos, fonts and logos from Debian packages.

Owns downloading, unpacking and the split into training and held-out material.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from worker.training.base.carving import collect, download
from worker.training.base.recipe import Photos
from worker.training.marks.recipe import MarksRecipe
from worker.training.marks.stencils import Palette
from worker.training.photos import Photo, load_photos

MAX_SIDE = 900
FONT_SUFFIXES = {".ttf", ".otf", ".ttc"}
# Icons come in many sizes; the larger ones hold the detail that a logo has.
ICON_FOLDERS = ("128x128", "256x256", "64x64", "48x48", "32x32")
MAX_LOGOS = 600


@dataclass(frozen=True)
class Split:
    """Photos by purpose; no photo is in two lists."""

    training: list[Photo]
    calibration: list[Photo]
    held_out: list[Photo]


@dataclass(frozen=True)
class Material:
    """The material of examples; `held_out` marks share no package with `training`."""

    photos: Split
    training: Palette
    held_out: Palette


def gather(recipe: MarksRecipe, photos: Photos, work: Path) -> Material:
    """Downloads and unpacks what is missing in `work`. Raises TrainingError if apt fails."""
    fonts, logos = recipe.fonts, recipe.logos
    packages = [*fonts.training, *fonts.held_out, *logos.training, *logos.held_out]
    download([*photos.packages, *packages], work / "packages")
    for package in packages:
        _unpack(package, work)
    if not (work / "photos").is_dir():
        collect(work / "packages", set(photos.keep), work / "photos")
    found = load_photos(work / "photos", recipe.crop, 0, MAX_SIDE).training
    return Material(
        split(found, recipe),
        _palette(work, fonts.training, fonts.chinese, logos.training),
        _palette(work, fonts.held_out, fonts.chinese, logos.held_out),
    )


def held_out_marks(recipe: MarksRecipe, work: Path) -> Palette:
    """The marks that no training has seen. Raises TrainingError if apt fails."""
    fonts, logos = recipe.fonts.held_out, recipe.logos.held_out
    download([*fonts, *logos], work / "packages")
    for package in (*fonts, *logos):
        _unpack(package, work)
    return _palette(work, fonts, recipe.fonts.chinese, logos)


def split(photos: list[Photo], recipe: MarksRecipe) -> Split:
    """Every n-th photo by name is held out and every m-th is for calibration: the same in every
    run.
    """
    period = 20
    held_out, calibration = (
        round(period * share) for share in (recipe.held_out_photos, recipe.calibration_photos)
    )
    place = [(7 * index) % period for index in range(len(photos))]
    return Split(
        [p for p, at in zip(photos, place, strict=True) if at >= held_out + calibration],
        [p for p, at in zip(photos, place, strict=True) if held_out <= at < held_out + calibration],
        [p for p, at in zip(photos, place, strict=True) if at < held_out],
    )


def _unpack(package: str, work: Path) -> None:
    folder = work / "unpacked" / package
    if folder.is_dir():
        return
    (deb,) = (work / "packages").glob(f"{package}_*.deb")
    folder.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)


def _palette(
    work: Path, fonts: tuple[str, ...], chinese: tuple[str, ...], logos: tuple[str, ...]
) -> Palette:
    latin = [package for package in fonts if package not in chinese]
    return Palette(
        _files(work, latin, FONT_SUFFIXES),
        _files(work, [package for package in fonts if package in chinese], FONT_SUFFIXES),
        _icons(work, logos),
    )


def _files(work: Path, packages: list[str], suffixes: set[str]) -> tuple[Path, ...]:
    found = (
        path for package in packages for path in (work / "unpacked" / package).rglob("*")
        if path.suffix in suffixes and path.is_file() and not path.is_symlink()
    )  # fmt: skip
    return tuple(sorted(found))


def _icons(work: Path, packages: tuple[str, ...]) -> tuple[Path, ...]:
    """One file per icon name, the largest available."""
    chosen: dict[str, Path] = {}
    for path in _files(work, list(packages), {".png"}):
        size = next((s for s in ICON_FOLDERS if s in path.parts), None)
        if size is None:
            continue
        known = chosen.get(path.name)
        if known is None or _rank(path) < _rank(known):
            chosen[path.name] = path
    icons = [chosen[name] for name in sorted(chosen)]
    return tuple(icons[:: max(1, len(icons) // MAX_LOGOS)])


def _rank(path: Path) -> int:
    return next(index for index, size in enumerate(ICON_FOLDERS) if size in path.parts)
