"""Presents the results of benchmarks/quality_methods.py in tables and one picture."""

from collections import Counter

import numpy as np
from PIL import Image

from benchmarks.contact_sheet import contact_sheet
from benchmarks.held_out import Case
from benchmarks.quality_methods import LORA_OF, STRENGTHS, Column
from worker.job.damage import diagnose
from worker.training.damage import RANGES, Pixels

TILE = 160
LINE = 14
Made = dict[str, tuple[Case, list[Column]]]


def section(case: Case, made: list[Column], photos: list[str]) -> str:
    """A markdown table of one case; the last column counts photos that are better in all three
    measures.
    """
    lines = [
        f"### {case.label}",
        "",
        "| method | PSNR | SSIM | GMSD | worst PSNR change | better in all three |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(_row(column, made[0], photos) for column in made), ""])


def _row(column: Column, before: Column, photos: list[str]) -> str:
    changes = column.changes(before)
    worst = int(np.argmin(changes))
    pairs = zip(column.scores, before.scores, strict=True)
    better = sum(a.psnr > b.psnr and a.ssim > b.ssim and a.gmsd < b.gmsd for a, b in pairs)
    told = f"{changes[worst]:+.2f} ({photos[worst]})" if column is not before else ""
    return (
        f"| {column.method} | {column.mean('psnr'):.2f} | {column.mean('ssim'):.4f} "
        f"| {column.mean('gmsd'):.4f} | {told} | {better} of {len(changes)} |"
    )


def short(made: Made) -> str:
    """The middle levels in brief: input, LoRA, the choice of `auto`, and the best filter."""
    lines = [
        "| damage | input | LoRA | `auto` | best filter | photos that the LoRA makes better |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for label, (case, columns) in made.items():
        if not case.is_middle:
            continue
        named = {column.method: column for column in columns}
        best = max(columns[4:], key=lambda column: column.mean("psnr"))
        values = [f"{named[name].mean('psnr'):.2f}" for name in ("input", "LoRA", "auto")]
        changes = named["LoRA"].changes(named["input"])
        lines.append(
            f"| {label} | {' | '.join(values)} | {best.mean('psnr'):.2f} "
            f"({best.method.removeprefix('other: ')}) "
            f"| {sum(change > 0 for change in changes)} of {len(changes)} |"
        )
    return "\n".join(lines)


def automatic(made: Made, photos: list[str]) -> str:
    """How far `auto` is from the suitable LoRA, and from the input."""
    lines = [
        "| damage | suitable LoRA, dB | auto, dB | auto - LoRA | auto - input, worst photo |",
        "| --- | --- | --- | --- | --- |",
    ]
    behind = []
    for label, (_, columns) in made.items():
        named = {column.method: column for column in columns}
        auto, changes = named["auto"], named["auto"].changes(named["input"])
        worst = int(np.argmin(changes))
        if "LoRA" in named:
            behind += auto.changes(named["LoRA"])
            suited = f"{named['LoRA'].mean('psnr'):.2f}"
            gap = f"{np.mean(auto.changes(named['LoRA'])):+.2f}"
        else:
            suited = gap = ""
        lines.append(
            f"| {label} | {suited} | {auto.mean('psnr'):.2f} | {gap} "
            f"| {changes[worst]:+.2f} ({photos[worst]}) |"
        )
    mean = f"Mean over all damaged photos: {np.mean(behind):+.2f} dB." if behind else ""
    return "\n".join([*lines, "", mean, ""])


def by_strength(found: dict[str, dict[float, list[float]]]) -> str:
    """Mean PSNR gain per LoRA and strength, the worst photo's in brackets."""
    head = [
        f"| LoRA | {' | '.join(f'{s:g}' for s in STRENGTHS)} |",
        f"|{' --- |' * (len(STRENGTHS) + 1)}",
    ]
    rows = []
    for kind, gains in found.items():
        cells = [f"{np.mean(g):+.2f} ({min(g):+.2f})" for g in gains.values()]
        rows.append(f"| {LORA_OF[kind]} | {' | '.join(cells)} |")
    return "\n".join([*head, *rows, ""])


def confusion(cases: list[Case]) -> str:
    """Measured damage by applied damage, over every photo and level."""
    kinds = ["none", *RANGES]
    counts = {kind: Counter[str]() for kind in kinds}
    for case in cases:
        counts[case.kind or "none"].update(diagnose(picture).kind for picture in case.damaged)
    head = f"| applied \\ measured | {' | '.join(kinds)} |\n|{' --- |' * (len(kinds) + 1)}"
    rows = [f"| {t} | {' | '.join(str(counts[t][k]) for k in kinds)} |" for t in kinds]
    right, total = sum(counts[k][k] for k in kinds), sum(sum(c.values()) for c in counts.values())
    return "\n".join([head, *rows, "", f"{right} of {total} correct.", ""])


def sheet(made: Made) -> Image.Image:
    """One row per case: input, base, LoRA, auto, the best classical filter, clean."""
    rows = [_cells(*value) for value in made.values() if value[0].is_middle]
    return contact_sheet(rows, TILE, LINE)


def _cells(case: Case, columns: list[Column]) -> list[tuple[Pixels, str]]:
    models, filters = columns[:4], columns[4:]
    shown = [*models, max(filters, key=lambda column: column.mean("psnr"))]
    cells = [(c.first, f"{c.method} {c.scores[0].psnr:.1f}") for c in shown]
    cells.append((case.clean[0], f"clean ({case.label})"))
    return [(pixels, words[:26]) for pixels, words in cells]
