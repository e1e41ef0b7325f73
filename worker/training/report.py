"""Reports an adapter's effect on held-out photos, in numbers and pictures.

Owns the report's table, its JSON and the contact sheet. Knows nothing of training.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from worker.training.checkpoint import room_for
from worker.training.damage import Pixels
from worker.training.validation import Score, Verdict

TILE = 192
MARGIN = 18
MAX_ROWS = 24


def write_report(folder: Path, name: str, verdicts: list[Verdict]) -> Path:
    """Writes report.md, report.json and sheet.png; returns the path of report.md."""
    folder.mkdir(parents=True, exist_ok=True)
    contact_sheet(verdicts).save(folder / "sheet.png")
    rows = [
        {
            "photo": v.sample.name,
            "kind": v.sample.kind,
            "strength": v.strength,
            "before": asdict(v.before),
            "after": asdict(v.after),
        }
        for v in verdicts
    ]
    (folder / "report.json").write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    path = folder / "report.md"
    path.write_text(f"# {name} on held-out photos\n\n{table(verdicts)}\n", "utf-8")
    return path


def write_samples(folder: Path, step: int, verdicts: list[Verdict]) -> None:
    """Writes the pictures of an evaluation during the run, `samples/STEP.png`."""
    if verdicts:
        with room_for(folder):
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            contact_sheet(verdicts).save(folder / "samples" / f"{step:06}.png")


def table(verdicts: list[Verdict]) -> str:
    """A markdown table: per kind and strength, the means, and how many photos improved."""
    head = (
        "| kind | strength | photos | PSNR before | after | SSIM before | after | GMSD before "
        "| after | better |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    groups: dict[tuple[str, float], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.sample.kind, verdict.strength), []).append(verdict)
    return "\n".join([head, *(_row(*group, found) for group, found in groups.items())])


def _row(kind: str, strength: float, verdicts: list[Verdict]) -> str:
    before, after = (_mean([getattr(v, side) for v in verdicts]) for side in ("before", "after"))
    better = sum(v.after.psnr > v.before.psnr for v in verdicts)
    return (
        f"| {kind} | {strength:g} | {len(verdicts)} | {before.psnr:.2f} | {after.psnr:.2f} "
        f"| {before.ssim:.3f} | {after.ssim:.3f} | {before.gmsd:.4f} | {after.gmsd:.4f} "
        f"| {better} of {len(verdicts)} |"
    )


def _mean(scores: list[Score]) -> Score:
    means = np.mean([(s.psnr, s.ssim, s.gmsd, s.detail) for s in scores], axis=0)
    return Score(*(float(value) for value in means))


def contact_sheet(verdicts: list[Verdict]) -> Image.Image:
    """Rows of damaged, restored and clean pictures, with PSNR under the first two."""
    shown = verdicts[:MAX_ROWS]
    sheet = Image.new("RGB", (3 * TILE, max(1, len(shown)) * (TILE + MARGIN)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, verdict in enumerate(shown):
        top = row * (TILE + MARGIN)
        for column, (pixels, words) in enumerate(_cells(verdict)):
            sheet.paste(_tile(pixels), (column * TILE, top))
            draw.text((column * TILE + 4, top + TILE + 3), words, fill="black")
    return sheet


def _cells(verdict: Verdict) -> list[tuple[Pixels, str]]:
    sample = verdict.sample
    return [
        (sample.damaged, f"{sample.kind} {verdict.before.psnr:.2f} dB"),
        (verdict.result, f"result {verdict.after.psnr:.2f} dB"),
        (sample.clean, sample.name[:30]),
    ]


def _tile(pixels: Pixels) -> Image.Image:
    """The centre of a picture, pixel by pixel if it is large enough."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - TILE) // 2), max(0, (width - TILE) // 2)
    return Image.fromarray(pixels[top : top + TILE, left : left + TILE])
