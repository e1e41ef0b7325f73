"""Shows a graded LoRA how a large enlarger redraws damaged photos.

Owns the lessons and their files: `NNNN.npz` with `damaged`, `clean` and `wanted`, each uint8
[S, S, 3]. `wanted` is the teacher's redrawing of the damaged crop: shrunk, which hides the
damage, enlarged four times by the teacher, and scaled back. A killed run continues where it was,
since each lesson is drawn from its own number.

The LoRA learns at the size at which the teacher saw the crop. There a small network's picture comes
close to the teacher's, and an enlarger that learnt from the same teacher brings it back to the
photo's own size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from worker.engine.upscale.networks import Enlarger
from worker.training.damage import Kind, Pixels, draw_damage
from worker.training.damage.scaling import Filter, resized
from worker.training.photos import Photo, random_crop, without_colour
from worker.training.recipe import LESSON_SHARE, LESSON_SIDE, Recipe
from worker.training.restoration import GREY_SHARE, Pairs, draw_pairs, to_tensor
from worker.training.upscaler.teacher import ask, example_path, write_missing

SMALL = round(LESSON_SIDE * LESSON_SHARE)
# Near its edge the teacher's answer lacks context.
EDGE = 3


@dataclass(frozen=True)
class Lesson:
    """A damaged crop, the clean one, and the teacher's redrawing of the damaged one."""

    damaged: Pixels
    clean: Pixels
    wanted: Pixels


def gather_lessons(
    photos: list[Photo],
    teacher: Enlarger,
    folder: Path,
    treats: Sequence[Kind],
    numbers: Sequence[int],
    tell: Callable[[int, int], None],
) -> None:
    """Writes the lessons of `numbers` that are missing; `tell` receives how many there are."""

    def lesson(number: int) -> Lesson:
        return _draw(photos, teacher, treats, np.random.default_rng((7, number)))

    write_missing(folder, numbers, lesson, tell)


def read_lessons(folder: Path, numbers: Sequence[int]) -> list[Lesson]:
    lessons = []
    for number in numbers:
        with np.load(example_path(folder, number)) as stored:
            lessons.append(Lesson(stored["damaged"], stored["clean"], stored["wanted"]))
    return lessons


def draw_lessons(
    lessons: list[Lesson], recipe: Recipe, random: np.random.Generator
) -> tuple[Pairs, torch.Tensor]:
    """A batch of windows of `recipe.crop` pixels of shrunk lessons, randomly rotated and mirrored,
    and the teacher's redrawings of them [N, 3, H, W] in -1..1.
    """
    drawn = [
        _window(_shrunk(lessons[int(random.integers(len(lessons)))]), recipe.crop, random)
        for _ in range(recipe.batch)
    ]
    damaged, clean, wanted = (
        to_tensor([getattr(one, name) for one in drawn]) for name in ("damaged", "clean", "wanted")
    )
    prompts = [recipe.prompts[int(random.integers(len(recipe.prompts)))] for _ in drawn]
    return Pairs(damaged, clean, prompts), wanted


def draw_shrunk_pairs(photos: list[Photo], recipe: Recipe, random: np.random.Generator) -> Pairs:
    """Other pairs of the same kind, which nobody redrew."""
    whole = replace(recipe, crop=round(recipe.crop * LESSON_SIDE / SMALL))
    pairs = draw_pairs(photos, whole, random)
    size = (recipe.crop, recipe.crop)
    damaged, clean = (
        torch.nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True)
        for pixels in (pairs.damaged, pairs.clean)
    )
    return Pairs(damaged.clamp(-1, 1), clean.clamp(-1, 1), pairs.prompts)


def _shrunk(lesson: Lesson) -> Lesson:
    return Lesson(*(_square(pixels, SMALL) for pixels in vars(lesson).values()))


def _window(lesson: Lesson, side: int, random: np.random.Generator) -> Lesson:
    last = SMALL - EDGE - side
    top, left = (int(place) for place in random.integers(EDGE, last + 1, 2))
    turns, mirrored = int(random.integers(4)), bool(random.random() < 0.5)

    def cut(pixels: Pixels) -> Pixels:
        square = np.rot90(pixels[top : top + side, left : left + side], turns)
        return np.ascontiguousarray(square[:, ::-1] if mirrored else square)

    return Lesson(cut(lesson.damaged), cut(lesson.clean), cut(lesson.wanted))


def _draw(
    photos: list[Photo], teacher: Enlarger, treats: Sequence[Kind], random: np.random.Generator
) -> Lesson:
    clean = random_crop(photos, LESSON_SIDE, random).pixels
    damaged = draw_damage(clean, treats, random)
    if random.random() < GREY_SHARE:
        clean, damaged = without_colour(clean), without_colour(damaged)
    return Lesson(damaged, clean, redrawn(damaged, teacher))


def redrawn(pixels: Pixels, teacher: Enlarger) -> Pixels:
    """The teacher's answer [S, S, 3] for a crop of that size, LESSON_SIDE."""
    return _square(ask(teacher, _square(pixels, SMALL)), LESSON_SIDE)


def _square(pixels: Pixels, side: int) -> Pixels:
    return resized(np.ascontiguousarray(pixels), side, side, Filter.LANCZOS)
