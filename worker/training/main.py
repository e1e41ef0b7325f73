"""The command behind `retouch train`: `python -m worker.training FOLDER --name NAME`.

Owns arguments, the progress bar and the final message.
"""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import torch
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from shared.bases import TINY, identify_base
from worker.engine.base.base_loading import choose_device
from worker.training import loop
from worker.training.damage import Kind
from worker.training.errors import TrainingError
from worker.training.recipe import Recipe, Task
from worker.training.train import Outcome, Places, train

# The first steps fill caches; a remaining time that includes them is too long.
SPEED_OVER_SECONDS = 60.0

# Defaults for a base. The embedded one is served with a single step.
_EMBEDDED: dict[str, Any] = {
    "strength": 0.1,
    "judged_strengths": (0.4,),
    "other_settings_share": 0.1,
    "whole_share": 0.0,
    "structure": 1.0,
    "crop": 96,
}
# SD 1.5 on a card of 8 GB.
_LARGE: dict[str, Any] = {
    "objective": "path",
    "convolutions": False,
    "batch": 1,
    "crop": 512,
    "rank": 16,
    "learning_rate": 1e-4,
    "gradient_checkpointing": True,
}
# Any strength in one step, from the base's first state to its last.
_GRADED: dict[str, Any] = {
    "sampler_steps": 1,
    "strength": 0.05,
    "judged_strengths": (0.4, 1.0),
    "edges": 1.0,
}
# One prediction makes the whole change; no other setting is served.
_ONCE: dict[str, Any] = {
    "convolutions": True,
    "sampler_steps": 1,
    "strength": 1.0,
    "judged_strengths": (),
    "other_settings_share": 0.0,
    "objective": "rollout",
}
_HUB_NAMES = {"sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5"}


def main(arguments: list[str] | None = None) -> int:
    """Parses the options, trains, and prints the outcome. Exit status: 0, 1 for an error, 3 if
    stopped.
    """
    options = _parser().parse_args(arguments)
    recipe, places = read_options(options)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    try:
        with _Bar(recipe) as bar:
            outcome = train(recipe, places, choose_device(options.device), bar.tell)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    print(words(outcome, recipe))
    return 0 if outcome.finished else 3


def parse(arguments: list[str]) -> tuple[Recipe, Places]:
    """The recipe and the paths of a command line."""
    return read_options(_parser().parse_args(arguments))


def read_options(options: argparse.Namespace) -> tuple[Recipe, Places]:
    """Converts options to a recipe: missing ones get the base's defaults."""
    given = {
        field.name: getattr(options, field.name)
        for field in fields(Recipe)
        if getattr(options, field.name, None) is not None
    }
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    recipe = Recipe(**given)
    if recipe.base == "tiny":
        recipe = replace(recipe, base=str(options.models / "tiny"))
    # A folder with the embedded base's kind of checkpoint gets its settings, too.
    suited = _EMBEDDED if identify_base(recipe.base) is TINY else _LARGE
    suited = suited | (_GRADED if recipe.graded else {}) | (_ONCE if recipe.once else {})
    recipe = replace(recipe, **{key: value for key, value in suited.items() if key not in given})
    recipe = replace(recipe, base=_HUB_NAMES.get(recipe.base, recipe.base))
    run = options.run or Path("var") / "training" / recipe.name
    return recipe, Places(options.photos, options.loras, run, options.start)


def words(outcome: Outcome, recipe: Recipe) -> str:
    """The message at the end."""
    lines = [f"skipped {name}: {why}" for name, why in outcome.skipped.items()]
    if not outcome.finished:
        lines.append(
            f"stopped at step {outcome.step} of {recipe.steps}; the same command continues"
        )
        return "\n".join(lines)
    if outcome.gain is not None:
        lines.append(f"held-out photos: {outcome.gain:+.2f} dB over the damaged input")
    return "\n".join([*lines, f"report: {outcome.report}", f"LoRA: {outcome.lora}"])


class _Bar:
    """A progress bar whose remaining time is derived from the last minute's speed."""

    def __init__(self, recipe: Recipe) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            speed_estimate_period=SPEED_OVER_SECONDS,
        )
        self._task: TaskID = self._progress.add_task(recipe.name, total=recipe.steps, loss=0.0)
        self._name = recipe.name
        self._loss: float | None = None

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, progress: loop.Progress) -> None:
        smooth = progress.loss if self._loss is None else 0.98 * self._loss + 0.02 * progress.loss
        # What comes before the run has no loss.
        self._loss = None if progress.stage else smooth
        self._progress.update(
            self._task,
            description=progress.stage or self._name,
            completed=progress.step,
            total=progress.steps,
            loss=smooth,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("retouch train", description="Train a LoRA on your photos.")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--name", required=True, help="the LoRA is loras/NAME_<base>.safetensors")
    parser.add_argument("--base", default="tiny", help="tiny, sd15, or a checkpoint's folder")
    parser.add_argument("--task", choices=get_args(Task))
    parser.add_argument("--treats", nargs="+", choices=get_args(Kind), help="damage to undo")
    parser.add_argument("--prompts", nargs="+", help="prompts for photos without a caption")
    for name in ("rank", "steps", "batch", "crop", "seed", "horizon", "held-out", "report-every"):
        parser.add_argument(f"--{name}", type=int)
    for name in (
        "learning-rate",
        "strength",
        "whole-share",
        "constant-share",
        "weight-decay",
        "structure",
        "edges",
        "detail",
    ):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--other-settings-share", type=float)
    parser.add_argument(
        "--judged-strengths", type=float, nargs="+", help="strengths evaluated besides its own"
    )
    parser.add_argument(
        "--graded", action="store_true", default=None, help="one step at any strength"
    )
    parser.add_argument(
        "--once", action="store_true", default=None, help="restore in one prediction, without noise"
    )
    parser.add_argument("--timestep", type=int, help="the noise level for --once")
    parser.add_argument("--adversarial", type=float, help="weight of a discriminator")
    parser.add_argument(
        "--lessons", type=int, help="learn to be vivid from this many redrawings by Real-ESRGAN"
    )
    parser.add_argument("--compare-pixels", action="store_true", default=None)
    parser.add_argument("--start", type=Path, help="a LoRA of the same base and rank to start from")
    parser.add_argument("--loras", type=Path, default=Path("loras"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--run", type=Path, help="checkpoints and report; var/training/NAME")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    return parser
