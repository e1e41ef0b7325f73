"""A graded LoRA learns to be vivid from a large enlarger's redrawings of damaged photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared.loras.sidecar import read_sidecar
from tests.support.teacher import Nearest
from worker.training import train as training
from worker.training.damage import Kind
from worker.training.errors import TrainingError
from worker.training.frozen_base import load_frozen
from worker.training.graded import GradedLoss
from worker.training.loop import Progress
from worker.training.main import parse
from worker.training.photos import Photo, load_photos
from worker.training.recipe import LESSON_SIDE, Recipe
from worker.training.teaching import Lesson, draw_lessons, gather_lessons, read_lessons, redrawn
from worker.training.train import LESSONS, Places, train
from worker.training.validation import make_samples

CPU = torch.device("cpu")
TREATS = ("jpeg",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        coarse = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        coarse.resize((160, 160)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def photos(folder: Path) -> list[Photo]:
    return load_photos(folder, LESSON_SIDE, 0, 1400).training


@pytest.fixture
def recipe(small_base: Path) -> Recipe:
    return Recipe(
        name="taught", base=str(small_base), treats=TREATS, rank=4, steps=2, batch=2, crop=32,
        held_out=0, report_every=2, warmup=1, graded=True, sampler_steps=1, lessons=3,
        judged_strengths=(), bfloat16=False, structure=1.0, edges=1.0,
    )  # fmt: skip


def lessons(photos: list[Photo], folder: Path, teacher: Nearest, count: int = 3) -> list[Lesson]:
    gather_lessons(photos, teacher, folder, TREATS, range(count), lambda *_: None)
    return read_lessons(folder, range(count))


def test_a_redrawing_is_the_teachers_picture_at_the_crops_own_size(photos: list[Photo]) -> None:
    pixels = np.ascontiguousarray(photos[0].pixels[:LESSON_SIDE, :LESSON_SIDE])
    answer = redrawn(pixels, Nearest())
    assert answer.shape == pixels.shape
    # Nearest neighbours of a soft picture differ little from it, and its light stays.
    assert abs(answer.astype(int).mean() - pixels.astype(int).mean()) < 1
    assert np.abs(answer.astype(int) - pixels).mean() < 12


def test_every_lesson_is_made_once_and_alike(photos: list[Photo], tmp_path: Path) -> None:
    teacher, told = Nearest(), []
    first = lessons(photos, tmp_path / "a", teacher, 2)
    gather_lessons(photos, teacher, tmp_path / "a", TREATS, range(3), lambda *t: told.append(t))
    assert teacher.asked == 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    anew = lessons(photos, tmp_path / "b", Nearest(), 2)
    for one, other in zip(first, anew, strict=True):
        for name, pixels in vars(one).items():
            np.testing.assert_array_equal(pixels, getattr(other, name))


def test_windows_of_the_three_pictures_belong_together(recipe: Recipe) -> None:
    places = np.arange(LESSON_SIDE * LESSON_SIDE).reshape(LESSON_SIDE, LESSON_SIDE) % 251
    picture = np.repeat(places[..., None], 3, axis=2).astype(np.uint8)
    pairs, wanted = draw_lessons(
        [Lesson(picture, picture, picture)], recipe, np.random.default_rng(3)
    )
    assert pairs.damaged.shape == (2, 3, 32, 32)
    assert torch.equal(pairs.damaged, pairs.clean)
    assert torch.equal(pairs.damaged, wanted)


def test_high_strengths_learn_the_redrawing_and_low_ones_the_photo(
    recipe: Recipe, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a teacher who answers white whatever the photo, and a network that restores it
    black, white = (np.full((LESSON_SIDE, LESSON_SIDE, 3), tone, np.uint8) for tone in (0, 255))
    loss = GradedLoss(
        load_frozen(recipe.base, CPU, bfloat16=False), photos, recipe, [Lesson(black, black, white)]
    )

    def measured(strength: float, found: float) -> float:
        degrees = replace(loss._draw(np.random.default_rng(0)), strength=torch.full((2,), strength))
        monkeypatch.setattr(loss, "_draw", lambda _random: degrees)
        monkeypatch.setattr(loss, "_restored", lambda *_: torch.full((2, 3, 32, 32), found))
        # The first number drawn decides between a lesson and another pair.
        monkeypatch.setattr("worker.training.graded.TAUGHT_SHARE", 1.0)
        return float(loss(np.random.default_rng(0), 0.0))

    assert measured(0.05, -1.0) < measured(0.05, 1.0) - 5
    assert measured(1.0, 1.0) < measured(1.0, -1.0) - 5


def test_a_discriminator_compares_with_the_redrawing(
    recipe: Recipe, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    black, white = (np.full((LESSON_SIDE, LESSON_SIDE, 3), tone, np.uint8) for tone in (0, 255))
    judged = replace(recipe, adversarial=0.1)
    base = load_frozen(recipe.base, CPU, bfloat16=False)
    loss = GradedLoss(base, photos, judged, [Lesson(black, black, white)])
    seen: list[torch.Tensor] = []

    def adversary(found: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        seen.append(real)
        return found.mean((1, 2, 3))

    monkeypatch.setattr(loss, "adversary", adversary)
    monkeypatch.setattr("worker.training.graded.TAUGHT_SHARE", 1.0)
    loss(np.random.default_rng(0), 0.0)
    assert [float(real.min()) for real in seen] == [1.0]

    # Pairs that nobody redrew say nothing about what is vivid.
    monkeypatch.setattr("worker.training.graded.TAUGHT_SHARE", 0.0)
    loss(np.random.default_rng(0), 0.0)
    assert len(seen) == 1


def test_a_run_makes_its_lessons_with_progress_and_learns_from_them(
    recipe: Recipe, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "find_teacher", Nearest)
    told: list[Progress] = []
    places = Places(folder, tmp_path / "loras", tmp_path / "run")
    outcome = train(recipe, places, CPU, told.append)
    assert outcome.lora is not None
    assert read_sidecar(outcome.lora.with_suffix(".toml")).shrink == 0.59
    assert [one.stage for one in told] == [LESSONS] * 3 + ["", ""]
    assert len(list((places.run / LESSONS).glob("*.npz"))) == 3


def test_without_the_teacher_a_run_says_where_to_get_it(
    recipe: Recipe, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "find_teacher", lambda: None)
    with pytest.raises(TrainingError, match="make extras"):
        train(recipe, Places(folder, tmp_path / "loras", tmp_path / "run"), CPU, lambda _: None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lessons", "5"], "lessons are for graded"),
        (["--graded", "--lessons", "-1"], "lessons must be 0 or more"),
        (["--graded", "--lessons", "5", "--crop", "80"], "crop must be at most 64"),
    ],
)
def test_what_lessons_cannot_do_is_refused(options: list[str], words: str) -> None:
    recipe, _ = parse(["photos", "--name", "mine", *options])
    assert words in str(recipe.problem())


def test_it_is_judged_at_the_size_at_which_it_works(recipe: Recipe, photos: list[Photo]) -> None:
    sample, *_ = make_samples(photos[:1], recipe)
    whole, *_ = make_samples(photos[:1], replace(recipe, lessons=0))
    assert whole.clean.shape == (160, 160, 3)
    assert sample.clean.shape == sample.damaged.shape == (96, 96, 3)
    assert abs(sample.clean.mean() - whole.clean.mean()) < 1


@pytest.mark.usefixtures("enough_samples")
@pytest.mark.parametrize(
    ("count", "treats", "samples", "sorts"),
    [
        (1, ("jpeg",), 3, 3),
        (3, ("noise",), 18, 6),
        (3, ("noise", "jpeg"), 18, 8),
        (3, ("noise", "blur", "jpeg", "lowres", "phone"), 30, 17),
    ],
)
def test_a_gain_is_measured_on_enough_samples_of_all_sorts(
    photos: list[Photo], count: int, treats: tuple[Kind, ...], samples: int, sorts: int
) -> None:
    made = make_samples(photos[:count], Recipe("a", "tiny", treats=treats))
    assert len(made) == samples
    assert len({sample.sort for sample in made}) == sorts
    assert len({(sample.name, sample.sort) for sample in made}) == samples


def test_a_photo_too_small_for_a_lesson_is_named(folder: Path) -> None:
    Image.new("RGB", (130, 200)).save(folder / "narrow.png")
    recipe, _ = parse([str(folder), "--name", "mine", "--graded", "--lessons", "5"])
    assert "narrow.png" in load_photos(folder, recipe.least_side, 0, 1400).skipped
