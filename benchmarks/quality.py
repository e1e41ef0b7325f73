"""Measures the quality of the embedded base's LoRAs on photos that were not used in training.

    make quality        (python -m benchmarks.quality --levels 3)

Writes docs/quality.md, docs/quality.jpg and the README's table. Every picture goes through the
worker's chooser and engine, with the LoRA's own strength, prompt and fidelity. Results are stored
in var/quality, so that a second run makes only what has changed; remove that folder after a change
to the engine.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.held_out import cases, held_out_photos
from benchmarks.pages import README, ROOT, put
from benchmarks.quality_methods import LORA_OF, columns, strengths
from benchmarks.quality_tables import Made, automatic, by_strength, confusion, section, sheet, short
from worker.training.damage import KINDS
from worker.training.restorer import Restorer

KEPT = ROOT / "var" / "quality"


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    named = dict(list(held_out_photos().items())[: options.photos])
    names, photos = list(named), list(named.values())
    restorer = Restorer(options.base, options.loras, KEPT / "pictures")
    made: Made = {}
    for case in cases(photos, options.levels, options.kinds):
        made[case.label] = (case, columns(case, restorer, options.brief))
        print(section(*made[case.label], names), flush=True)
    all_cases = [case for case, _ in made.values()]
    gains = {str(c.kind): strengths(c, restorer) for c in all_cases if c.is_middle}
    tables = [
        "## `lora=auto` compared with the suitable LoRA and with the input\n",
        automatic(made, names),
        "## What `lora=auto` measures\n",
        confusion(all_cases),
        "## Other strengths\n",
        "Gain in PSNR at the middle levels, mean and (in brackets) worst photo, on the middle 192 "
        "pixels.\n",
        by_strength(gains),
    ]
    text = [_head(names, _speed(restorer)), *(section(*value, names) for value in made.values())]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quality.md").write_text("\n".join([*text, *tables]), "utf-8")
    if options.out == ROOT / "docs":
        put(README, "quality", short(made))
    sheet(made).save(options.out / "quality.jpg", quality=88)
    _keep_scores(made)
    print("\n".join(tables))
    restorer.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=int, default=3, help="levels per kind; 1 is the middle")
    parser.add_argument("--photos", type=int, default=99, help="how many of the photos")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--brief", action="store_true", help="filters at the middle levels only")
    parser.add_argument("--base", type=Path, default=ROOT / "models" / "tiny")
    parser.add_argument("--loras", type=Path, default=ROOT / "loras")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    return parser.parse_args()


def _speed(restorer: Restorer) -> dict[str, float]:
    """Best of three times in seconds for one 512 pixel square through the warm engine, by LoRA.

    A new picture each time, since the engine caches encoded sources.
    """
    random, seconds = np.random.default_rng(0), dict[str, float]()
    for lora in LORA_OF.values():
        spans = []
        for _ in range(4):
            square = random.integers(0, 256, (512, 512, 3), dtype=np.uint8)
            begun = time.perf_counter()
            restorer.make_anew(square, lora)
            spans.append(time.perf_counter() - begun)
        seconds[lora] = min(spans[1:])
    return seconds


def _head(photos: list[str], seconds: dict[str, float]) -> str:
    spans = ", ".join(f"{lora} {span:.2f}" for lora, span in seconds.items())
    return "\n".join(
        [
            "# Quality of the embedded base's LoRAs",
            "",
            "Measured by `make quality` on photos that were not used in training: "
            f"{', '.join(photos)}. Every picture went through the worker's chooser and engine. "
            "The parameters of the classical filters were chosen on these photos, for each kind "
            "and level; those of the LoRAs and `auto` were not. Higher PSNR and SSIM and lower "
            "GMSD are better.",
            "",
            "Seconds for a picture of 512 x 512 pixels through the warm engine, including "
            f"encoding: {spans}; {torch.get_num_threads()} CPU threads, "
            f"load average {os.getloadavg()[0]:.1f}.",
            "",
            "![Contact sheet](quality.jpg)",
            "",
        ]
    )


def _keep_scores(made: Made) -> None:
    """Every photo's scores, to compare one set of weights with another."""
    plain = {
        label: {column.method: [asdict(s) for s in column.scores] for column in made_columns}
        for label, (_, made_columns) in made.items()
    }
    (KEPT / "scores.json").write_text(json.dumps(plain, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
