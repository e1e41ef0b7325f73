"""Trains one LoRA from a folder of photos and writes it where the service finds it.

Owns the order of steps: read, resume or start, train, evaluate, keep the best, write. The pieces
know nothing of each other.
"""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shared.bases import identify_base
from worker.training.adapter import (
    adapter_state,
    add_adapter,
    load_adapter_state,
    merge_while_training,
    save_adapter,
)
from worker.training.adversary import Adversary
from worker.training.checkpoint import load_checkpoint, room_for, save_checkpoint
from worker.training.errors import Diverged, NameTaken, RunChanged, TrainingError
from worker.training.frozen_base import FrozenBase, load_frozen
from worker.training.graded import GradedLoss
from worker.training.loop import Group, Loop, Loss, Progress
from worker.training.once import OnceLoss
from worker.training.photos import PhotoSet, load_photos
from worker.training.recipe import Recipe
from worker.training.report import write_report, write_samples
from worker.training.restoration import RestorationLoss
from worker.training.sidecar import write_sidecar
from worker.training.style import StyleLoss
from worker.training.teaching import Lesson, gather_lessons, read_lessons
from worker.training.upscaler.teacher import find_teacher
from worker.training.validation import Verdict, judge, make_samples, mean_gain

CHECKPOINT = "checkpoint.pt"
LESSONS = "lessons"


@dataclass(frozen=True)
class Places:
    """The paths that a run reads and writes. `start` is a LoRA to start from."""

    photos: Path
    loras: Path
    run: Path
    start: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: the LoRA's file if it finished, and the improvement of pictures."""

    finished: bool
    step: int
    gain: float | None
    lora: Path | None
    report: Path | None
    skipped: dict[str, str]


class _Stopped(Exception):
    """Raised between two steps when the process was told to stop."""


def train(
    recipe: Recipe, places: Places, device: torch.device, tell: Callable[[Progress], None]
) -> Outcome:
    """Runs `recipe` to its end, or until SIGINT or SIGTERM, continuing from its checkpoint.

    Raises NameTaken, NoPhotos, OutOfSpace, Diverged, RunChanged, or TrainingError for an invalid
    recipe or base.
    """
    if problem := recipe.problem():
        raise TrainingError(problem + ".")
    target = lora_path(recipe, places)
    if target.exists():
        raise NameTaken(f"{target} exists already. Choose another --name or remove the file first.")
    photos = load_photos(places.photos, recipe.least_side, recipe.held_out, recipe.max_side)
    torch.manual_seed(recipe.seed)
    run = _Run(recipe, places, photos, device, tell)
    with _stop_signal() as stop:
        try:
            run.go_on(tell, stop)
        except _Stopped:
            return Outcome(False, run.loop.step, None, None, None, photos.skipped)
    with room_for(target):
        return run.finish(target)


def lora_path(recipe: Recipe, places: Places) -> Path:
    """`loras/NAME_BASE.safetensors`."""
    return places.loras / f"{recipe.name}_{identify_base(recipe.base).id}.safetensors"


class _Run:
    """Connects the pieces of one training run."""

    def __init__(
        self,
        recipe: Recipe,
        places: Places,
        photos: PhotoSet,
        device: torch.device,
        tell: Callable[[Progress], None],
    ) -> None:
        self._recipe = recipe
        self._places = places
        self._skipped = photos.skipped
        self._base = load_frozen(recipe.base, device, recipe.bfloat16)
        parameters = _adapted(self._base, recipe, places)
        lessons = gather(photos, recipe, places.run / LESSONS, tell)
        self._loss = _loss(self._base, photos, recipe, lessons)
        self.loop = Loop([Group(parameters)], self._loss, recipe.schedule)
        self._restores = recipe.task == "restore"
        self._samples = make_samples(photos.held_out, recipe)
        self._best: dict[str, Any] = {"gain": float("-inf"), "adapter": {}}
        self._resume()

    def _resume(self) -> None:
        saved = load_checkpoint(self._places.run / CHECKPOINT)
        if saved is None:
            return
        if saved["recipe"] != _plain(self._recipe):
            raise RunChanged(
                f"{self._places.run} contains a run that was started with other settings. "
                "Use the same settings, another --name, or remove that folder."
            )
        self.loop.restore(saved["loop"])
        self._best = saved["best"]
        if (adversary := _adversary(self._loss)) is not None:
            adversary.restore(saved["adversary"])

    def go_on(self, tell: Callable[[Progress], None], stop: list[int]) -> None:
        if self.loop.step == 0 and self._places.start is not None:
            # The weights of the start are kept unless better ones are found.
            self._keep()

        def after_step(progress: Progress) -> None:
            tell(progress)
            _refuse_what_is_no_number(progress)
            if progress.step % self._recipe.report_every == 0:
                self._keep()
            elif stop:
                self._save()
            if stop:
                raise _Stopped

        self.loop.run(self._recipe.steps, after_step)

    def _keep(self) -> None:
        """Evaluates the averaged weights by the real sampler, keeps them if they are the best, and
        saves the run.
        """
        self.loop.swap_average()
        try:
            verdicts = judge(self._base, self._samples, self._recipe)
            write_samples(self._places.run, self.loop.step, verdicts)
            # A style has no clean picture to be compared with.
            judged = verdicts if self._restores else []
            recipe = self._recipe
            gain = mean_gain(judged, recipe.structure, recipe.edges, recipe.detail)
            # Vividness costs decibels: a graded LoRA's later weights look better.
            newest = recipe.graded or not judged
            if newest or gain > self._best["gain"]:
                state = {
                    key: value.clone() for key, value in adapter_state(self._base.unet).items()
                }
                self._best = {"gain": gain, "step": self.loop.step, "adapter": state}
        finally:
            self.loop.swap_average()
        self._log(gain, judged)
        self._save()

    def _log(self, gain: float, verdicts: list[Verdict]) -> None:
        of_each = (
            mean_gain([v for v in verdicts if v.strength == strength])
            for strength in self._recipe.judged
        )
        numbers = ",".join(f"{number:.4f}" for number in (gain, *of_each))
        path = self._places.run / "curve.csv"
        with room_for(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as curve:
                curve.write(f"{self.loop.step},{numbers}\n")

    def _save(self) -> None:
        state = {"recipe": _plain(self._recipe), "loop": self.loop.state(), "best": self._best}
        if (adversary := _adversary(self._loss)) is not None:
            state["adversary"] = adversary.state()
        save_checkpoint(self._places.run / CHECKPOINT, state)

    def finish(self, target: Path) -> Outcome:
        """Writes the best adapter, its sidecar and the report."""
        if self.loop.step % self._recipe.report_every or not self._best["adapter"]:
            self._keep()
        load_adapter_state(self._base.unet, self._best["adapter"])
        samples = self._samples if self._restores else []
        verdicts = judge(self._base, samples, self._recipe)
        report = write_report(self._places.run, self._recipe.name, verdicts)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_sidecar(target.with_suffix(".toml"), self._recipe)
        save_adapter(
            target, self._best["adapter"], metadata(self._recipe, self._base.predicts_velocity)
        )
        gain = mean_gain(verdicts) if verdicts else None
        return Outcome(True, self.loop.step, gain, target, report, self._skipped)


def _refuse_what_is_no_number(progress: Progress) -> None:
    if not math.isfinite(progress.loss):
        raise Diverged(
            f"The loss is no longer a number at step {progress.step}. Use a smaller "
            "--learning-rate and another --name, or remove the run's folder."
        )


def _adapted(base: FrozenBase, recipe: Recipe, places: Places) -> list[torch.nn.Parameter]:
    if recipe.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
        base.unet.train()
    parameters = add_adapter(base.unet, recipe.rank, recipe.convolutions, timed=recipe.graded)
    if places.start is not None:
        load_start(base.unet, places.start)
    if recipe.convolutions:
        merge_while_training(base.unet)
    return parameters


def _loss(base: FrozenBase, photos: PhotoSet, recipe: Recipe, lessons: list[Lesson]) -> Loss:
    if recipe.task == "style":
        return StyleLoss(base, photos.training, recipe)
    if recipe.once:
        return OnceLoss(base, photos.training, recipe)
    if recipe.graded:
        return GradedLoss(base, photos.training, recipe, lessons)
    return RestorationLoss(base, photos.training, recipe)


def gather(
    photos: PhotoSet, recipe: Recipe, folder: Path, tell: Callable[[Progress], None]
) -> list[Lesson]:
    """The recipe's lessons; those that are missing in `folder` are made first."""
    if not recipe.lessons:
        return []
    teacher = find_teacher()
    if teacher is None:
        raise TrainingError("Lessons need Real-ESRGAN x4plus, which is not there: make extras")

    def tell_lessons(done: int, wanted: int) -> None:
        tell(Progress(done, wanted, 0.0, LESSONS))

    numbers = range(recipe.lessons)
    with room_for(folder):
        gather_lessons(photos.training, teacher, folder, recipe.treats, numbers, tell_lessons)
    return read_lessons(folder, numbers)


def _adversary(loss: Loss) -> Adversary | None:
    return loss.adversary if isinstance(loss, GradedLoss) else None


def load_start(unet: Any, start: Path) -> None:
    """Loads the weights of another LoRA with the same layers and at most the same rank.

    Additional ranks keep their random initial values, and so do additional layers, without any
    effect yet.
    """
    from safetensors.torch import load_file

    fresh = adapter_state(unet)
    for key, value in load_file(start).items():
        known = fresh[key.removeprefix("unet.")]
        if any(own > there for own, there in zip(value.shape, known.shape, strict=True)):
            raise TrainingError(f"{start} does not fit: {key} is larger than this LoRA's.")
        known[tuple(slice(side) for side in value.shape)] = value.float()
    load_adapter_state(unet, fresh)


def metadata(recipe: Recipe, predicts_velocity: bool = False) -> dict[str, str]:
    """The file's metadata, with modelspec's keys."""
    family = identify_base(recipe.base).id
    names = {
        "tiny": "retouch-tiny",
        "sd15": "stable-diffusion-v1",
        "sd21": "stable-diffusion-v2",
        "sdxl": "stable-diffusion-xl-v1-base",
    }
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{names.get(family, family)}/lora",
        "modelspec.title": recipe.name,
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "v" if predicts_velocity else "epsilon",
    }


def _plain(recipe: Recipe) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in recipe.as_dict().items()}


@contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM inside the block, so that no step is interrupted."""
    received: list[int] = []
    wanted = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _f: received.append(n)) for number in wanted}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
