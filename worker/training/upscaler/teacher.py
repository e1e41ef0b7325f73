"""Computes a large enlarger's outputs for small crops, and stores them on disk.

Owns the files: `NNNN.npz` with `small` [S, S, 3] and `large` [4S, 4S, 3]. A killed run continues
where it was, since each crop is drawn from its own number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.errors import RetouchError
from shared.settings import REPOSITORY
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import LARGE
from worker.engine.upscale.loading import load_upscaler
from worker.engine.upscale.networks import Enlarger
from worker.training.damage.pixels import Pixels
from worker.training.photos import Photo, random_crop
from worker.training.restoration import to_tensor
from worker.training.upscaler.examples import LARGEST, Batch, damaged, shrunk, targets_of

FOLDER = REPOSITORY / "upscalers"
# Near its edge, the output for a crop lacks context.
EDGE = 4
LEAST_SHRINK, MOST_SHRINK = 1.3, 4.0


@dataclass(frozen=True)
class Answer:
    """A crop and the teacher's enlargement of it, uint8."""

    small: Pixels
    large: Pixels


def find_teacher() -> Enlarger | None:
    """Real-ESRGAN x4plus, if `make extras` has written it to `upscalers/`."""
    catalog = UpscalerCatalog(FOLDER)
    catalog.scan()
    try:
        loaded = load_upscaler(catalog.resolve(LARGE), torch.device("cpu"))
    except RetouchError:
        return None
    teacher: Enlarger = loaded.network  # type: ignore[assignment]
    return teacher


def gather_answers(
    photos: list[Photo],
    teacher: Enlarger,
    folder: Path,
    wanted: tuple[int, int, int],
    tell: Callable[[int, int], None],
) -> list[Answer]:
    """`wanted` is (seed, crops, side). Existing outputs are not computed again."""
    seed, crops, side = wanted

    def answer(number: int) -> Answer:
        small = _draw(photos, side, np.random.default_rng((seed, number)))
        return Answer(small, ask(teacher, small))

    write_missing(folder, range(crops), answer, tell)
    return read_answers(folder)


def read_answers(folder: Path) -> list[Answer]:
    answers = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as stored:
            answers.append(Answer(stored["small"], stored["large"]))
    return answers


def _draw(photos: list[Photo], side: int, random: np.random.Generator) -> Pixels:
    """A crop of a photo at a random scale, mildly damaged."""
    factor = float(np.exp(random.uniform(np.log(LEAST_SHRINK), np.log(MOST_SHRINK))))
    cut = min(round(side * factor), *(min(photo.pixels.shape[:2]) for photo in photos))
    pixels = random_crop(photos, cut, random).pixels
    return damaged(shrunk(pixels, cut / side, random), random)


@torch.inference_mode()
def ask(teacher: Enlarger, small: Pixels) -> Pixels:
    """The teacher's picture [4S, 4S, 3] for a crop [S, S, 3]."""
    pictures = to_tensor([small]).add(1).div(2).contiguous(memory_format=torch.channels_last)
    large = teacher(pictures, LARGEST)[0].clamp(0, 1).mul(255).round().byte()
    return np.asarray(large.permute(1, 2, 0).numpy())


def write_missing(
    folder: Path,
    numbers: Sequence[int],
    make: Callable[[int], Any],
    tell: Callable[[int, int], None],
) -> None:
    """Writes the examples of `numbers` that are missing: dataclasses of arrays. `tell` receives how
    many are there, and of how many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for done, number in enumerate(numbers, 1):
        path = example_path(folder, number)
        if not path.is_file():
            _write_arrays(path, **vars(make(number)))
        tell(done, len(numbers))


def example_path(folder: Path, number: int) -> Path:
    return folder / f"{number:04}.npz"


def _write_arrays(path: Path, **arrays: Any) -> None:
    """An `.npz` that is there completely or not at all."""
    unfinished = path.with_suffix(".writing")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    unfinished.replace(path)


def draw_answers(
    answers: list[Answer], count: int, side: int, random: np.random.Generator
) -> Batch:
    """Windows of the teacher's outputs, randomly rotated and mirrored, in the form of
    draw_batch.
    """
    small, large = [], []
    for _ in range(count):
        one = _window(answers[int(random.integers(len(answers)))], side, random)
        small.append(one.small)
        large.append(one.large)
    return Batch(to_tensor(small), targets_of(large))


def _window(answer: Answer, side: int, random: np.random.Generator) -> Answer:
    last = answer.small.shape[0] - EDGE - side
    top, left = (int(place) for place in random.integers(EDGE, last + 1, 2))
    turns, mirrored = int(random.integers(4)), bool(random.random() < 0.5)

    def cut(pixels: Pixels, times: int) -> Pixels:
        rows = slice(top * times, (top + side) * times)
        columns = slice(left * times, (left + side) * times)
        square = np.rot90(pixels[rows, columns], turns)
        return np.ascontiguousarray(square[:, ::-1] if mirrored else square)

    return Answer(cut(answer.small, 1), cut(answer.large, LARGEST))
