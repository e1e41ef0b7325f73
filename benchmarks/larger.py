"""The whole way of a small photo to one of twice its size, beside Real-ESRGAN x4plus.

    python -m benchmarks.larger

Six photos that no training and no calibration saw are halved and damaged as cameras and chat
applications do. `lora=auto` and the embedded enlarger then make them twice as large, and so does
Real-ESRGAN x4plus, whose result is shrunk to that size. Writes docs/larger.md, and docs/larger.jpg
with all of them at 100 %. Needs the enlarger that `make extras` fetches.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.contact_sheet import Cell, contact_sheet
from benchmarks.eye import quality
from benchmarks.held_out import part_around, sample_photo
from benchmarks.niqe import niqe
from benchmarks.pages import ROOT
from benchmarks.upscalers import by_filter, network, shrunk
from shared.upscalers.choice import LARGE
from worker.training.damage import SORTS, Pixels
from worker.training.metrics import gmsd, psnr
from worker.training.restorer import Restorer

FACTOR = 2
SIDE = 288
TILE = 288
LINE = 16
# Photo, the middle of the part that is looked at (y, x in shares), sort of damage, level.
SMALL: tuple[tuple[str, float, float, str, float], ...] = (
    ("astronaut", 0.25, 0.45, "defocus", 0.8),
    ("chelsea", 0.4, 0.5, "camera", 0.5),
    ("rocket", 0.6, 0.5, "signal", 8),
    ("china", 0.5, 0.5, "jpeg", 60),
    ("flower", 0.5, 0.5, "chat", 0.5),
    ("motorcycle", 0.5, 0.5, "small", 1.3),
)
COLUMNS = ("Lanczos", "retouch", "Real-ESRGAN x4plus")


@dataclass(frozen=True)
class Enlarged:
    """One photo: its name, clean, and what each of COLUMNS made of the small one."""

    name: str
    clean: Pixels
    made: tuple[Pixels, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    restorer = Restorer(ROOT / "models" / "tiny", ROOT / "loras", ROOT / "var" / "quality" / "made")
    own, large = network("retouch"), network(LARGE)
    found = []
    for seed, (photo, y, x, sort, level) in enumerate(SMALL):
        clean = part_around(sample_photo(photo), y, x, SIDE)
        small = shrunk(clean, FACTOR, damaged=False)
        small = SORTS[sort].make(small, level, np.random.default_rng(seed))
        ours = own(restorer.enhance(small, "auto"), FACTOR)
        theirs = _fitted(large(small, 2 * FACTOR), clean)
        made = (by_filter(small, FACTOR), ours, theirs)
        found.append(Enlarged(f"{photo}, {sort} {level:g}", clean, made))
        print(found[-1].name, flush=True)
    restorer.close()
    (options.out / "larger.md").write_text(table(found), "utf-8")
    rows = [_cells(one) for one in found]
    contact_sheet(rows, TILE, LINE).save(options.out / "larger.jpg", quality=90)
    print(table(found))


def _fitted(picture: Pixels, like: Pixels) -> Pixels:
    size = (like.shape[1], like.shape[0])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def table(found: list[Enlarged]) -> str:
    """PSNR, GMSD, NIQE and the number of benchmarks/eye.py for each photo and way."""
    lines = [
        "# Small photos, twice as large",
        "",
        "Made by `python -m benchmarks.larger`. Cells: PSNR in dB / GMSD / NIQE / the number of "
        "benchmarks/eye.py in dB. Of GMSD and NIQE less is better.",
        "",
        f"| photo | {' | '.join(COLUMNS)} |",
        "|" + " --- |" * (len(COLUMNS) + 1),
        *(f"| {one.name} | {' | '.join(_cell(made, one.clean) for made in one.made)} |"
          for one in found),
        "",
        "![Contact sheet](larger.jpg)",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _cell(made: Pixels, clean: Pixels) -> str:
    numbers = psnr(made, clean), gmsd(made, clean), niqe(made), quality(made, clean)
    return "{:.2f} / {:.4f} / {:.1f} / {:.2f}".format(*numbers)


def _cells(one: Enlarged) -> list[Cell]:
    made = [(pixels, f"{one.name}: {way}") for pixels, way in zip(one.made, COLUMNS, strict=True)]
    return [*made, (one.clean, "truth")]


if __name__ == "__main__":
    main()
