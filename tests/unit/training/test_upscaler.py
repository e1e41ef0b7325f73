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
from worker.training.errors import TrainingError
from worker.training.photos import Photo
from worker.training.upscaler.examples import draw_batch
from worker.training.upscaler.loss import Discriminator, UpscalingLoss
from worker.training.upscaler.make import answers_for, build, train_stage, write
from worker.training.upscaler.recipe import Shape, Stage, Teaching, UpscalerRecipe, read_recipe
from worker.training.upscaler.teacher import draw_answers, gather_answers

STAGE = Stage("one", 4, 2, 8, 1e-3, 0.5, 0.5, 0.5, 1.0, 0.01)
RECIPE = UpscalerRecipe(0, Shape(8, 1, 4), Teaching(2, 16), (STAGE,))


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


def test_a_killed_stage_goes_on_where_it_was(photos: list[Photo], tmp_path: Path) -> None:
    answers = gather_answers(photos, Nearest(), tmp_path / "t", (0, 2, 16), lambda *_: None)
    whole = build(RECIPE)
    train_stage(whole, STAGE, 0, photos, answers, tmp_path, lambda *_: None)
    resumed = build(RECIPE)
    train_stage(resumed, STAGE, 0, photos, answers, tmp_path, lambda *_: pytest.fail("trained"))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_both_sides_of_the_contest_learn_from_their_own_loss(photos: list[Photo]) -> None:
    network, judge = build(RECIPE), Discriminator(4)
    stage = Stage("one", 4, 2, 16, 1e-3, 0.5, 0.0, 0.0, 0.0, 1.0)
    loss = UpscalingLoss(network, judge, photos, [], stage)(np.random.default_rng(0), 0.0)
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
