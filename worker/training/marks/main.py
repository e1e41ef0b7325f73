"""`python -m worker.training.marks`: makes `models/watermark` from its recipe, and evaluates it.

Owns arguments and the order: material, the engine's own pairs, training, threshold, evaluation.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import torch

from shared.settings import REPOSITORY
from worker.training.base.recipe import read_recipe as read_base_recipe
from worker.training.errors import TrainingError
from worker.training.marks.enhancing import Pair, enhance_all
from worker.training.marks.evaluation import Clean, evaluate, imitate_all
from worker.training.marks.examples import Examples
from worker.training.marks.export import export
from worker.training.marks.material import gather
from worker.training.marks.recipe import read_recipe
from worker.training.marks.stencils import Palette
from worker.training.marks.train import train
from worker.training.photos import Photo

FOLDER = REPOSITORY / "models" / "watermark"
# An enhanced picture takes a second or two, an imitated one hardly any time.
TRAINING_SIDE, TRAINING_EVERY = 256, 2
HELD_OUT_SIDE, HELD_OUT_VARIANTS, IMITATED_VARIANTS = 320, 3, 6
SAY_EVERY = 25


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Exit status: 0, or 1 for an error."""
    parser = argparse.ArgumentParser("worker.training.marks", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=FOLDER / "recipe.toml")
    parser.add_argument("--work", type=Path, default=Path("var/training/watermark"))
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("gather", "pairs", "train", "evaluate"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
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
    model = options.output / "marks.onnx"
    if options.only != "evaluate":
        own = _to_train_on(photos.training, pairs, material.training)
    if options.only in (None, "train"):
        examples = Examples(photos.training, own, material.training, recipe.crop, recipe.seed)
        export(train(recipe, examples, options.work, _say), model)
    if options.only == "train":
        return
    calibration = _clean(photos.calibration, pairs, "calibration", material.training)
    held_out = _clean(photos.held_out, pairs, "held-out", material.held_out)
    if options.only == "pairs":
        return
    report = evaluate(recipe, model, calibration, held_out, material)
    (options.output / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


def _to_train_on(photos: list[Photo], pairs: Path, palette: Palette) -> list[Pair]:
    side, folder = TRAINING_SIDE, pairs / "training"
    marked = pairs / "training-marked"
    return [
        *enhance_all(photos[::TRAINING_EVERY], side, 1, folder),
        *enhance_all(photos[1::TRAINING_EVERY], side, 1, marked, palette),
    ]


def _clean(photos: list[Photo], pairs: Path, name: str, palette: Palette) -> Clean:
    return Clean(
        enhance_all(photos, HELD_OUT_SIDE, HELD_OUT_VARIANTS, pairs / name),
        imitate_all(photos, IMITATED_VARIANTS),
        enhance_all(photos, HELD_OUT_SIDE, 1, pairs / f"{name}-marked", palette),
    )


def _say(step: int, loss: float) -> None:
    if step % SAY_EVERY == 0:
        print(f"step {step} loss {loss:.3f}", flush=True)
