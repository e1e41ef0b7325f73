"""The embedded enlarger learns from photos and from a teacher, resumes, and ships as it should."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from shared.settings import REPOSITORY
from shared.upscalers.architecture import Folded
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import OURS
from tests.support.teacher import Nearest
from worker.training.damage import Pixels
from worker.training.errors import TrainingError
from worker.training.photos import Photo
from worker.training.upscaler.examples import draw_batch
from worker.training.upscaler.loss import Discriminator, Examples, UpscalingLoss
from worker.training.upscaler.make import answers_for, build, train_stage, write
from worker.training.upscaler.recipe import (
    Shape,
    Stage,
    Teaching,
    Treated,
    UpscalerRecipe,
    read_recipe,
)
from worker.training.upscaler.teacher import Answer, draw_answers, gather_answers
from worker.training.upscaler.treated import gather_treated

STAGE = Stage("one", 4, 2, 8, 1e-3, 0.5, 0.5, 0.5, 1.0, 0.01)
RECIPE = UpscalerRecipe(0, Shape(8, 1, 4), Teaching(2, 16), Treated(2, 16), (STAGE,))


@pytest.fixture
def photos() -> list[Photo]:
    random = np.random.default_rng(0)
    return [Photo("a", random.integers(0, 256, (96, 96, 3), dtype=np.uint8))]


def test_small_and_large_pictures_belong_together(photos: list[Photo]) -> None:
    batch = draw_batch(photos, 3, 8, np.random.default_rng(1))
    assert batch.small.shape == (3, 3, 8, 8)
    assert {f: tuple(t.shape) for f, t in batch.targets.items()} == {
        2: (3, 3, 16, 16),
        4: (3, 3, 32, 32),
    }
    means = [t.mean((1, 2, 3)) for t in (batch.small, *batch.targets.values())]
    torch.testing.assert_close(means[0], means[2], atol=0.1, rtol=0)


def test_the_teacher_is_asked_once_for_each_crop_and_windows_fit(
    photos: list[Photo], tmp_path: Path
) -> None:
    teacher, told = Nearest(), []
    for _ in range(2):
        answers = gather_answers(
            photos, teacher, tmp_path, (0, 3, 16), lambda done, of: told.append((done, of))
        )
    assert teacher.asked == len(answers) == 3
    assert told[-1] == (3, 3)
    batch = draw_answers(answers, 2, 8, np.random.default_rng(0))
    repeated = torch.nn.functional.interpolate(batch.small, scale_factor=4)
    torch.testing.assert_close(batch.targets[4], repeated)


def test_what_loras_left_is_made_once_and_belongs_to_the_clean_photo(
    photos: list[Photo], tmp_path: Path
) -> None:
    given = []

    def treat(pixels: Pixels) -> Pixels:
        given.append(pixels)
        return np.full((8, 8, 3), len(given), np.uint8)

    for _ in range(2):
        treated = gather_treated(photos, treat, tmp_path, (0, 3, 16), lambda *_: None)
    assert [pixels.shape for pixels in given] == [(16, 16, 3)] * 3
    assert [(one.small.shape, one.large.shape) for one in treated] == [((8, 8, 3), (32, 32, 3))] * 3
    assert [int(one.small[0, 0, 0]) for one in treated] == [1, 2, 3]


def test_without_a_photo_that_is_large_enough_nothing_is_treated(
    photos: list[Photo], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="100 pixels"):
        gather_treated(photos, lambda one: one, tmp_path, (0, 1, 25), lambda *_: None)


def test_a_batch_has_its_shares_of_all_kinds(photos: list[Photo]) -> None:
    def plain(level: int) -> Answer:
        small, large = (np.full((side, side, 3), level, np.uint8) for side in (24, 96))
        return Answer(small, large)

    stage = Stage("one", 4, 8, 8, 1e-3, 0.5, 0.25, 0.5, 1.0, 0.0, treated_share=0.5)
    examples = Examples([plain(0)], [plain(255)])
    loss = UpscalingLoss(build(RECIPE), Discriminator(4), photos, examples, stage)
    small = loss.draw(np.random.default_rng(0)).small
    assert [len(small[(small == level).all((1, 2, 3))]) for level in (-1, 1)] == [2, 4]
    assert len(small) == 8


def test_a_killed_stage_goes_on_where_it_was(photos: list[Photo], tmp_path: Path) -> None:
    taught = gather_answers(photos, Nearest(), tmp_path / "t", (0, 2, 16), lambda *_: None)
    examples = Examples(taught, [])
    whole = build(RECIPE)
    train_stage(whole, STAGE, 0, photos, examples, tmp_path, lambda *_: None)
    resumed = build(RECIPE)
    train_stage(resumed, STAGE, 0, photos, examples, tmp_path, lambda *_: pytest.fail("trained"))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_both_sides_of_the_contest_learn_from_their_own_loss(photos: list[Photo]) -> None:
    network, judge = build(RECIPE), Discriminator(4)
    stage = Stage("one", 4, 2, 16, 1e-3, 0.5, 0.0, 0.0, 0.0, 1.0)
    loss = UpscalingLoss(network, judge, photos, Examples([], []), stage)(
        np.random.default_rng(0), 0.0
    )
    assert loss.dim() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in judge.parameters())
    assert network.tails["2"].weight.grad is not None


def test_a_recipe_that_wants_a_teacher_says_where_to_get_one(
    photos: list[Photo], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="make extras"):
        answers_for(RECIPE, photos, None, tmp_path, lambda *_: None)


def test_what_is_written_is_what_the_catalogue_reads(tmp_path: Path) -> None:
    write(build(RECIPE), tmp_path / "mine.safetensors", {"modelspec.title": "mine"})
    catalog = UpscalerCatalog(tmp_path)
    catalog.scan()
    assert catalog.resolve("mine").architecture == Folded(8, 1, 4, (2, 4))


def test_the_shipped_enlarger_is_of_its_recipe_small_and_says_what_it_learnt_from() -> None:
    folder = REPOSITORY / "upscalers"
    recipe = read_recipe(folder / "recipe.toml")
    catalog = UpscalerCatalog(folder)
    catalog.scan()
    entry = catalog.resolve(OURS)
    shape = recipe.shape
    assert entry.architecture == Folded(shape.width, shape.blocks, shape.fine, (2, 4))
    assert entry.size_bytes <= 6_000_000
    with safe_open(entry.path, "pt") as file:
        assert "Real-ESRGAN" in file.metadata()["modelspec.description"]
