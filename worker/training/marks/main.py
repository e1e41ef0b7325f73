"""`python -m worker.training.marks`: makes `models/watermark` from its recipe, and measures it.

Owns arguments and the order: material, the engine's own pairs, training, threshold, evaluation.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from shared.settings import REPOSITORY
from worker.training.base.recipe import read_recipe as read_base_recipe
from worker.training.errors import TrainingError
from worker.training.marks.enhancing import enhance_all
from worker.training.marks.evaluation import Clean, evaluate, imitate_all
from worker.training.marks.examples import Examples
from worker.training.marks.export import export
from worker.training.marks.material import gather
from worker.training.marks.recipe import read_recipe
from worker.training.marks.train import train

FOLDER = REPOSITORY / "models" / "watermark"
TRAINING_SIDE, TRAINING_VARIANTS, TRAINING_PHOTOS = 352, 1, 64
HELD_OUT_SIDE, HELD_OUT_VARIANTS, IMITATED_VARIANTS = 384, 1, 8
SAY_EVERY = 25


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 for a refusal."""
    parser = argparse.ArgumentParser("worker.training.marks", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=FOLDER / "recipe.toml")
    parser.add_argument("--work", type=Path, default=Path("var/training/watermark"))
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("gather", "pairs", "train", "evaluate"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        make(options)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def make(options: argparse.Namespace) -> None:
    """Everything, or one part of it."""
    recipe, base = (
        read_recipe(options.recipe),
        read_base_recipe(REPOSITORY / "models/tiny/recipe.toml"),
    )
    material = gather(recipe, base.photos, options.work)
    if options.only == "gather":
        return
    photos, pairs = material.photos, options.work / "pairs"
    if options.only not in ("evaluate", "pairs"):
        some = photos.training[:: max(1, len(photos.training) // TRAINING_PHOTOS)]
        own = enhance_all(some, TRAINING_SIDE, TRAINING_VARIANTS, pairs / "training")
        examples = Examples(photos.training, own, material.training, recipe.crop, recipe.seed)
        network = train(recipe, examples, options.work, _say)
        export(network, options.output / "marks.onnx")
    if options.only == "train":
        return
    sides = (HELD_OUT_SIDE, HELD_OUT_VARIANTS)
    calibration = enhance_all(photos.calibration, *sides, pairs / "calibration")
    held_out = enhance_all(photos.held_out, *sides, pairs / "held-out")
    if options.only == "pairs":
        return
    report = evaluate(
        recipe,
        options.output / "marks.onnx",
        calibration + imitate_all(photos.calibration, IMITATED_VARIANTS),
        Clean(held_out, imitate_all(photos.held_out, IMITATED_VARIANTS)),
        material.held_out,
    )
    (options.output / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


def _say(step: int, loss: float) -> None:
    if step % SAY_EVERY == 0:
        print(f"step {step} loss {loss:.3f}", flush=True)
