"""The command behind `retouch train-base`: `python -m worker.training.base`."""

import argparse
import sys
from pathlib import Path

import torch
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from worker.training.base.make import make_base
from worker.training.base.recipe import read_recipe
from worker.training.errors import TrainingError
from worker.training.progress_bars import StageBars


def main(arguments: list[str] | None = None) -> int:
    """Makes the embedded base from its recipe. Exit status: 0, or 1 for an error."""
    parser = argparse.ArgumentParser(
        "retouch train-base", description="Make the embedded base `tiny` from its recipe."
    )
    parser.add_argument("--recipe", type=Path, default=Path("models/tiny/recipe.toml"))
    parser.add_argument("--work", type=Path, default=Path("var/training/base"))
    parser.add_argument("--output", type=Path, default=Path("var/training/base/tiny"))
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    options.work.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    try:
        with Bar(*columns, speed_estimate_period=60) as bar:
            start = make_base(
                read_recipe(options.recipe), options.work, options.output, StageBars(bar)
            )
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"base: {options.output}\nLoRA to start others from: {start}")
    return 0
