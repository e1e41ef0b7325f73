"""Thirteen ordinary photos that no training and no calibration saw, through `lora=auto`.

    python -m benchmarks.ordinary

Each has the damage that such photos come with: cameras, chat applications, night, shaking hands;
the last is a good photo, which is to be left alone. Writes docs/ordinary.md and docs/ordinary.jpg,
a contact sheet at 100 %: as it came, `lora=auto`, `redraw` at its own strength and at 1, and the
truth.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.contact_sheet import Cell, contact_sheet
from benchmarks.eye import edge_energy, quality
from benchmarks.held_out import part_around, sample_photo
from benchmarks.niqe import niqe
from benchmarks.pages import ROOT
from worker.training.damage import SORTS, Pixels
from worker.training.metrics import gmsd, psnr, ssim
from worker.training.restorer import Restorer

SIDE = 384
TILE = 224
LINE = 16
# Photo, the middle of the part that is looked at (y, x in shares), sort of damage, level.
ORDINARY: tuple[tuple[str, float, float, str, float], ...] = (
    ("astronaut", 0.2, 0.45, "chat", 1.0),
    ("astronaut", 0.2, 0.45, "correlated", 10),
    ("chelsea", 0.4, 0.5, "camera", 1.3),
    ("coffee", 0.5, 0.5, "defocus", 1.4),
    ("rocket", 0.6, 0.5, "night", 16),
    ("motorcycle", 0.5, 0.5, "motion", 7),
    ("china", 0.5, 0.5, "jpeg_twice", 25),
    ("flower", 0.5, 0.5, "chat", 1.2),
    ("camera", 0.35, 0.5, "grain", 12),
    ("page", 0.3, 0.5, "small_by_any", 2),
    ("grass", 0.5, 0.5, "signal", 12),
    ("coins", 0.5, 0.5, "second_order", 0.8),
    ("china", 0.5, 0.5, "jpeg", 95),
)
COLUMNS: tuple[tuple[str, str, float | None], ...] = (
    ("auto", "auto", None),
    ("redraw", "redraw", None),
    ("redraw at 1", "redraw", 1.0),
)


@dataclass(frozen=True)
class Judged:
    """One photo: its name, clean, damaged, and what each column of COLUMNS made of it."""

    name: str
    clean: Pixels
    damaged: Pixels
    made: list[Pixels]
    reason: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loras", type=Path, default=ROOT / "loras")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    restorer = Restorer(ROOT / "models" / "tiny", options.loras, ROOT / "var" / "quality" / "made")
    judged = [_judged(*one, seed, restorer) for seed, one in enumerate(ORDINARY)]
    restorer.close()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ordinary.md").write_text(table(judged), "utf-8")
    sheet(judged).save(options.out / "ordinary.jpg", quality=90)
    print(table(judged))


def _judged(
    photo: str, y: float, x: float, sort: str, level: float, seed: int, restorer: Restorer
) -> Judged:
    clean = part_around(sample_photo(photo), y, x, SIDE)
    damaged = SORTS[sort].make(clean, level, np.random.default_rng(seed))
    if (clean == clean[..., :1]).all():
        damaged = np.repeat(damaged[..., 1:2], 3, axis=2)
    made = [restorer.enhance(damaged, lora, strength) for _, lora, strength in COLUMNS]
    return Judged(f"{photo}, {sort} {level:g}", clean, damaged, made, restorer.reason(damaged))


def table(judged: list[Judged]) -> str:
    """A row for each photo; numbers before and after `auto`, and how much better in sum."""
    lines = [
        "# Ordinary photos through `lora=auto`",
        "",
        "Made by `python -m benchmarks.ordinary`. *Eye* is the gain of benchmarks/eye.py, in "
        "decibels; *edges* the energy of edges beside the clean photo's; *NIQE* that of "
        "benchmarks/niqe.py, less is better.",
        "",
        "| photo | PSNR | SSIM | GMSD | edges | NIQE | eye | eye, redraw | eye, at 1 | chosen |",
        "|" + " --- |" * 10,
        *(_row(one) for one in judged),
    ]
    better = [_eye(one, 0) for one in judged]
    lines += [
        "",
        f"Better by a decibel or more: {sum(gain >= 1 for gain in better)} of {len(better)}; "
        f"worse by a quarter or more: {sum(gain <= -0.25 for gain in better)}.",
        "",
        "![Contact sheet](ordinary.jpg)",
        "",
    ]
    return "\n".join(lines)


def _row(one: Judged) -> str:
    auto = one.made[0]
    pairs = [
        f"{measure(one.damaged, one.clean):.{digits}f} → {measure(auto, one.clean):.{digits}f}"
        for measure, digits in ((psnr, 2), (ssim, 3), (gmsd, 4), (_edges, 2))
    ]
    pairs.append(f"{niqe(one.damaged):.1f} → {niqe(auto):.1f}")
    eyes = [f"{_eye(one, column):+.2f}" for column in range(len(COLUMNS))]
    return f"| {one.name} | {' | '.join(pairs)} | {' | '.join(eyes)} | {one.reason} |"


def _edges(picture: Pixels, clean: Pixels) -> float:
    return edge_energy(picture) / edge_energy(clean)


def _eye(one: Judged, column: int) -> float:
    return quality(one.made[column], one.clean) - quality(one.damaged, one.clean)


def sheet(judged: list[Judged]) -> Image.Image:
    """One row for each photo, the middle at 100 %."""
    return contact_sheet([_cells(one) for one in judged], TILE, LINE)


def _cells(one: Judged) -> list[Cell]:
    titles = [title for title, _, _ in COLUMNS]
    made = zip(one.made, titles, strict=True)
    return [(one.damaged, f"{one.name}: as it came"), *made, (one.clean, "truth")]


if __name__ == "__main__":
    main()
