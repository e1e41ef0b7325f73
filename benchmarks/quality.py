"""Measures what the LoRAs of the embedded base do to photos that no training saw.

    make quality        (python benchmarks/quality.py --levels 3)

Writes docs/quality.md and docs/quality.jpg. Every picture goes through the pipeline that the
service loads, with the LoRA's own strength, prompt and fidelity.
"""

import argparse
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.classical import families, tune
from benchmarks.held_out import Case, cases, held_out_photos
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from worker.damage import choose, diagnose
from worker.engine.fidelity import apply_fidelity, crop_to, pad_to_multiple
from worker.engine.loading import load_base
from worker.training.degradations import RANGES, Pixels
from worker.training.restoration import to_tensor
from worker.training.validation import Score, score

ROOT = Path(__file__).parent.parent
LORA_OF = {
    "noise": "denoise",
    "blur": "deblur",
    "jpeg": "dejpeg",
    "lowres": "lowres",
    "phone": "face_restore",
}
STEPS = 10
TILE = 160


@dataclass(frozen=True)
class Column:
    """What one method made of all photos of a case."""

    method: str
    pictures: list[Pixels]
    scores: list[Score]

    def mean(self, measure: str) -> float:
        return float(np.mean([getattr(one, measure) for one in self.scores]))


class Restorer:
    """The warm pipeline with every LoRA of the embedded base resident."""

    def __init__(self, base: Path, entries: dict[str, LoraEntry]) -> None:
        loaded = load_base(str(base), torch.device("cpu"))
        self._pipeline = loaded.pipeline
        for name, entry in entries.items():
            self._pipeline.load_lora_weights(
                entry.path.parent, weight_name=entry.path.name, adapter_name=name
            )
        self._active: str | None = "?"

    @torch.inference_mode()
    def restore(
        self, pixels: Pixels, entry: LoraEntry | None, strength: float | None = None
    ) -> Pixels:
        """One picture, as the service makes it."""
        self._activate(entry.short_name if entry else None)
        source = to_tensor([pixels])
        padded = pad_to_multiple(source, 16)
        wanted = strength or (entry.strength if entry else None) or 0.4
        latents = self._pipeline(
            prompt=(entry.prompt if entry else None) or "",
            image=(padded + 1) / 2,
            strength=wanted,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images
        vae = self._pipeline.vae
        decoded = vae.decode(latents / vae.config.scaling_factor).sample
        mode = (entry.fidelity if entry else None) or "none"
        if mode != "none":
            again = vae.decode(vae.encode(padded).latents).sample
            decoded = apply_fidelity(mode, padded, decoded, again)
        kept = (crop_to(decoded, source)[0].clamp(-1, 1) + 1) * 127.5
        return np.asarray(kept.round().to(torch.uint8).permute(1, 2, 0).numpy())

    def _activate(self, name: str | None) -> None:
        if name == self._active:
            return
        # Merged as the service does for a homogeneous queue: an unmerged LoRA costs half as much
        # again.
        self._pipeline.unfuse_lora() if self._active not in (None, "?") else None
        if name is None:
            self._pipeline.disable_lora()
        else:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([name])
            self._pipeline.fuse_lora(adapter_names=[name])
        self._active = name


def columns(case: Case, restorer: Restorer, entries: dict[str, LoraEntry]) -> list[Column]:
    """Every method on one case."""
    made: dict[str, list[Pixels]] = {"input": case.damaged}
    made["base"] = [restorer.restore(picture, None) for picture in case.damaged]
    if case.kind is not None and (entry := entries.get(LORA_OF[case.kind])):
        made["LoRA"] = [restorer.restore(picture, entry) for picture in case.damaged]
    known = dict(zip(map(id, case.damaged), made.get("LoRA", []), strict=False))
    special = entries.get(LORA_OF[case.kind]) if case.kind is not None else None
    made["auto"] = [
        automatic(restorer, picture, entries, special, known.get(id(picture)))
        for picture in case.damaged
    ]
    if case.kind is not None:
        for family, grid in families(case.kind):
            tuned = tune(grid, case.damaged, case.clean)
            made[family if family != "other" else f"other: {tuned.name}"] = tuned.pictures
    return [
        Column(method, pictures, [score(p, c) for p, c in zip(pictures, case.clean, strict=True)])
        for method, pictures in made.items()
    ]


def automatic(
    restorer: Restorer,
    picture: Pixels,
    entries: dict[str, LoraEntry],
    special: LoraEntry | None,
    known: Pixels | None,
) -> Pixels:
    """What `lora=auto` makes; `known` is what `special` made, so that it is not made twice."""
    choice = choose(picture, list(entries.values()))
    entry = choice.loras[0][0] if choice.loras else None
    if known is not None and entry is not None and entry is special:
        return known
    return restorer.restore(picture, entry, choice.strength)


def section(case: Case, made: list[Column]) -> str:
    """A markdown table of one case; the last column counts photos better in all three measures."""
    before = made[0].scores
    lines = [
        f"### {case.label}",
        "",
        "| method | PSNR | SSIM | GMSD | worst PSNR change | better in all three |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for column in made:
        pairs = list(zip(column.scores, before, strict=True))
        worst = min(after.psnr - first.psnr for after, first in pairs)
        better = sum(a.psnr > b.psnr and a.ssim > b.ssim and a.gmsd < b.gmsd for a, b in pairs)
        lines.append(
            f"| {column.method} | {column.mean('psnr'):.2f} | {column.mean('ssim'):.4f} "
            f"| {column.mean('gmsd'):.4f} | {worst:+.2f} | {better} of {len(pairs)} |"
        )
    return "\n".join([*lines, ""])


def confusion(all_cases: list[Case]) -> str:
    """What is measured where what was done, over every photo and level."""
    kinds = ["none", *RANGES]
    counts = {
        truth: Counter(
            diagnose(picture).kind
            for case in all_cases
            if (case.kind or "none") == truth
            for picture in case.damaged
        )
        for truth in kinds
    }
    head = f"| done \\ measured | {' | '.join(kinds)} |\n|{' --- |' * (len(kinds) + 1)}"
    rows = [f"| {t} | {' | '.join(str(counts[t][k]) for k in kinds)} |" for t in kinds]
    right, total = sum(counts[k][k] for k in kinds), sum(sum(c.values()) for c in counts.values())
    return "\n".join([head, *rows, "", f"{right} of {total} right.", ""])


def sheet(made: dict[str, tuple[Case, list[Column]]], photo: int) -> Image.Image:
    """One row per kind: input, base, LoRA, auto, the best classical filter, clean."""
    rows = [value for label, value in made.items() if label != "clean"]
    picture = Image.new("RGB", (6 * TILE, len(rows) * (TILE + 14)), "white")
    draw = ImageDraw.Draw(picture)
    for row, (case, tried) in enumerate(rows):
        named = {column.method: column for column in tried}
        classical = max(tried[-3:], key=lambda column: column.mean("psnr"))
        shown = [named[m] for m in ("input", "base", "LoRA", "auto") if m in named] + [classical]
        cells = [(c.pictures[photo], f"{c.method} {c.scores[photo].psnr:.1f}") for c in shown]
        cells.append((case.clean[photo], f"clean ({case.label})"))
        for place, (pixels, words) in enumerate(cells):
            picture.paste(_tile(pixels), (place * TILE, row * (TILE + 14)))
            draw.text((place * TILE + 2, row * (TILE + 14) + TILE + 1), words[:26], fill="black")
    return picture


def _tile(pixels: Pixels) -> Image.Image:
    top, left = ((side - TILE) // 2 for side in pixels.shape[:2])
    return Image.fromarray(pixels[top : top + TILE, left : left + TILE])


def speed(restorer: Restorer, entry: LoraEntry | None) -> float:
    """Best of three seconds for one 512 pixel square through the warm pipeline."""
    square = np.full((512, 512, 3), 128, np.uint8)
    seconds = []
    for _ in range(4):
        begun = time.perf_counter()
        restorer.restore(square, entry)
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:])


def read_entries(folder: Path) -> dict[str, LoraEntry]:
    """The embedded base's LoRAs, as the catalogue offers them."""
    catalog = Catalog(folder, "tiny")
    catalog.scan()
    offered = (e for e in catalog.entries() if e.state is LoraState.AVAILABLE)
    return {entry.short_name: entry for entry in offered if entry.base == "tiny"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=int, default=3, help="levels per kind; 1 is the middle")
    parser.add_argument("--photos", type=int, default=99, help="how many of the photos")
    parser.add_argument("--base", type=Path, default=ROOT / "models" / "tiny")
    parser.add_argument("--loras", type=Path, default=ROOT / "loras")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--threads", type=int, help="CPU threads; all cores where not given")
    options = parser.parse_args()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    named = dict(list(held_out_photos().items())[: options.photos])
    entries = read_entries(options.loras)
    restorer = Restorer(options.base, entries)
    all_cases = cases(list(named.values()), options.levels)
    made = {}
    for case in all_cases:
        made[case.label] = (case, columns(case, restorer, entries))
        print(section(*made[case.label]), flush=True)
    write(options.out, made, list(named), confusion(all_cases), speed(restorer, None))


def write(
    folder: Path,
    made: dict[str, tuple[Case, list[Column]]],
    photos: list[str],
    table: str,
    seconds: float,
) -> None:
    text = [
        "# What the LoRAs of the embedded base do",
        "",
        f"Made by `make quality` on photos that no training saw: {', '.join(photos)}. "
        "Classical filters have their parameters picked on these photos, for each kind and level; "
        "the LoRAs and `auto` do not. Higher PSNR and SSIM are better, lower GMSD is.",
        "",
        f"One 512 pixel square through the warm pipeline: {seconds:.2f} s "
        f"on {torch.get_num_threads()} CPU threads, "
        f"beside a load average of {os.getloadavg()[0]:.1f}.",
        "",
        "![Contact sheet](quality.jpg)",
        "",
        *(section(*value) for value in made.values()),
        "## What `lora=auto` measures",
        "",
        table,
    ]
    (folder / "quality.md").write_text("\n".join(text), "utf-8")
    sheet(made, 0).save(folder / "quality.jpg", quality=88)


if __name__ == "__main__":
    main()
