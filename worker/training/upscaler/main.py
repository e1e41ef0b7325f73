"""The command behind `retouch train-upscaler`: `python -m worker.training.upscaler`."""

import argparse
import sys
from pathlib import Path

import torch
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from shared.settings import REPOSITORY
from worker.training.base.recipe import read_recipe as read_base_recipe
from worker.training.errors import TrainingError
from worker.training.progress_bars import StageBars
from worker.training.upscaler.make import make_upscaler, write
from worker.training.upscaler.recipe import read_recipe
from worker.training.upscaler.teacher import FOLDER, find_teacher

OUTPUT = Path("var/training/upscaler/retouch.safetensors")
METADATA = {
    "modelspec.architecture": "retouch-folded",
    "modelspec.title": "retouch's own enlarger",
    "modelspec.license": "Apache-2.0",
    "modelspec.description": "Learnt from photos, and from answers of Real-ESRGAN x4plus "
    "(BSD-3-Clause).",
}


def main(arguments: list[str] | None = None) -> int:
    """Makes the embedded enlarger from its recipe. Exit status: 0, or 1 for an error."""
    parser = argparse.ArgumentParser(
        "retouch train-upscaler", description="Make the embedded enlarger from its recipe."
    )
    parser.add_argument("--recipe", type=Path, default=FOLDER / "recipe.toml")
    parser.add_argument("--base", type=Path, default=REPOSITORY / "models/tiny/recipe.toml")
    parser.add_argument("--photos", type=Path, help="a folder with packages and photos to share")
    parser.add_argument("--work", type=Path, default=Path("var/training/upscaler"))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        _make(options)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"enlarger: {options.output}")
    return 0


def _make(options: argparse.Namespace) -> None:
    recipe, base = read_recipe(options.recipe), read_base_recipe(options.base)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Bar(*columns, speed_estimate_period=60) as bar:
        network = make_upscaler(
            recipe,
            base,
            find_teacher(),
            options.photos or options.work,
            options.work,
            StageBars(bar),
        )
    write(network, options.output, METADATA)
