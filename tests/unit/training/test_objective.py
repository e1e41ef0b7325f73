"""What a restoring LoRA is trained for, and how the weights that are kept are picked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage.metrics import structural_similarity

from worker.training import precision
from worker.training.damage import Pixels
from worker.training.damage.blurring import gaussian
from worker.training.damage.noise import white
from worker.training.frozen_base import load_frozen
from worker.training.graded import HIGHEST, LOWEST, taught, weighed
from worker.training.metrics import gmsd
from worker.training.objective import (
    detail_loss,
    edge_loss,
    picture_loss,
    sharpened,
    structure_loss,
)
from worker.training.precision import autocast
from worker.training.recipe import Recipe
from worker.training.restoration import compared, to_tensor
from worker.training.train import Places, train
from worker.training.validation import Sample, Score, Verdict, mean_gain

CPU = torch.device("cpu")


@pytest.fixture
def pixels() -> Pixels:
    random = np.random.default_rng(3)
    return gaussian(random.integers(0, 256, (48, 40, 3), dtype=np.uint8), 1.5)


def test_the_structure_loss_is_what_scikit_image_calls_dissimilar(pixels: Pixels) -> None:
    noisy = white(pixels, 12, np.random.default_rng(4))
    loss = structure_loss(to_tensor([noisy]), to_tensor([pixels]))
    _, whole = structural_similarity(
        noisy, pixels, win_size=7, channel_axis=2, use_sample_covariance=False, full=True
    )
    inner = whole[3:-3, 3:-3].mean()
    assert float(loss) == pytest.approx(1 - inner, abs=1e-4)


def test_equal_pictures_have_no_structure_loss(pixels: Pixels) -> None:
    picture = to_tensor([pixels])
    assert float(structure_loss(picture, picture)) == pytest.approx(0, abs=1e-6)


def test_the_edge_loss_is_what_pictures_are_judged_by(pixels: Pixels) -> None:
    noisy = white(pixels, 12, np.random.default_rng(4))
    loss = edge_loss(to_tensor([noisy]), to_tensor([pixels]))
    assert float(loss) == pytest.approx(gmsd(noisy, pixels), abs=1e-4)


def test_detail_counts_by_its_size_and_not_by_its_place(pixels: Pixels) -> None:
    # Given fine detail, the same a pixel aside, and the same smoothed away
    grainy = white(pixels, 20, np.random.default_rng(4))
    moved = np.roll(white(pixels, 20, np.random.default_rng(5)), 1, axis=1)
    aside, smooth, clean = (to_tensor([one]) for one in (moved, gaussian(grainy, 1.2), grainy))
    # Then the squared error likes the smooth one better, and the detail loss the other
    assert picture_loss(smooth, clean) < picture_loss(aside, clean)
    assert detail_loss(smooth, clean) > 3 * detail_loss(aside, clean)
    assert float(detail_loss(clean, clean)) == 0


def test_every_picture_of_a_batch_has_a_loss_of_its_own(pixels: Pixels) -> None:
    clean = to_tensor([pixels, pixels])
    found = to_tensor([pixels, white(pixels, 20, np.random.default_rng(0))])
    for loss in (picture_loss, structure_loss, edge_loss, detail_loss):
        first, second = loss(found, clean).tolist()
        assert first < second
        assert loss(found[1:], clean[1:]).item() == pytest.approx(second, abs=1e-5)


def test_what_is_sharpened_has_more_detail_and_stays_in_range(pixels: Pixels) -> None:
    clean = to_tensor([pixels, pixels])
    same, more = sharpened(clean, torch.tensor([0.0, 1.0]))
    assert torch.allclose(same, clean[0])
    assert more.diff().abs().mean() > 1.1 * same.diff().abs().mean()
    assert more.abs().max() <= 1


def test_what_is_kept_is_judged_by_what_is_learnt(pixels: Pixels) -> None:
    sample = Sample("photo", "noise", "white", pixels, pixels)
    verdict = Verdict(
        sample, 0.1, pixels, Score(30.0, 0.80, 0.06, 0.4), Score(31.0, 0.90, 0.03, 0.1)
    )
    decibels = 10 / np.log(10)

    assert mean_gain([verdict]) == pytest.approx(1.0)
    assert mean_gain([verdict], structure=2.0) == pytest.approx(1.0 + decibels * 2.0 * 0.10)
    assert mean_gain([verdict], edges=6.0) == pytest.approx(1.0 + decibels * 6.0 * 0.03)
    assert mean_gain([verdict], detail=2.0) == pytest.approx(1.0 + decibels * 2.0 * 0.3)


@pytest.mark.parametrize("weight", ["structure", "edges", "detail"])
def test_each_measure_of_a_recipe_makes_a_smooth_picture_worse(pixels: Pixels, weight: str) -> None:
    clean, smooth = to_tensor([pixels]), to_tensor([gaussian(pixels, 1.5)])
    recipes = [replace(Recipe("a", "tiny"), **{weight: size}) for size in (0.0, 1.0, 2.0)]
    losses = [float(compared(smooth, clean, recipe)) for recipe in recipes]
    assert losses[0] + 0.01 < losses[1] < losses[2]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-4)


def test_detail_weighs_in_a_graded_loss_where_it_did_not_before(pixels: Pixels) -> None:
    clean, smooth = to_tensor([pixels] * 2), to_tensor([gaussian(pixels, 1.5)] * 2)
    plain = Recipe("a", "tiny", graded=True)
    strengths = torch.tensor([LOWEST, HIGHEST])
    without, with_detail = (
        weighed(smooth, clean, strengths, recipe) for recipe in (plain, replace(plain, detail=1.0))
    )
    assert with_detail[0] - without[0] == pytest.approx(float(detail_loss(smooth, clean)[0]))
    assert with_detail[1] == without[1]


def test_detail_weighs_in_what_lessons_teach_at_low_strength(pixels: Pixels) -> None:
    clean, smooth = to_tensor([pixels] * 2), to_tensor([gaussian(pixels, 1.5)] * 2)
    plain = Recipe("a", "tiny", graded=True, lessons=1)
    strengths = torch.tensor([LOWEST, HIGHEST])
    without, with_detail = (
        taught(smooth, clean, clean, strengths, recipe)
        for recipe in (plain, replace(plain, detail=1.0))
    )
    assert with_detail[0] - without[0] == pytest.approx(float(detail_loss(smooth, clean)[0]))
    assert with_detail[1] == without[1]


def test_equal_edges_have_a_slope(pixels: Pixels) -> None:
    picture = to_tensor([pixels]).requires_grad_()
    edge_loss(picture, picture.detach()).backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None
    assert bool(picture.grad.isfinite().all())


def test_latents_of_a_folding_base_unfold_to_the_picture(small_base: Path, pixels: Pixels) -> None:
    base = load_frozen(str(small_base), CPU, bfloat16=False)
    picture = to_tensor([pixels])
    assert base.folds
    torch.testing.assert_close(base.unfold(base.encode(picture)), picture, atol=0.01, rtol=0)


def test_half_precision_waits_for_a_processor_that_is_quick_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given matrices whose product keeps float32 outside of autocast
    ones = torch.ones(2, 2)
    for quick, dtype in ((None, torch.float32), (torch.bfloat16, torch.bfloat16)):
        monkeypatch.setattr(precision, "choose_autocast", lambda *_args, found=quick: found)
        with autocast(CPU):
            assert (ones @ ones).dtype is dtype
        with autocast(CPU, wanted=False):
            assert (ones @ ones).dtype is torch.float32


def test_what_was_begun_from_is_kept_unless_something_better_comes(
    small_base: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a LoRA, and a run from it whose judgements only get worse
    recipe = Recipe(
        name="first",
        base=str(small_base),
        treats=("noise",),
        rank=4,
        steps=4,
        batch=2,
        crop=32,
        held_out=2,
        report_every=4,
        warmup=1,
        bfloat16=False,
    )
    first = train(recipe, Places(photo_folder, tmp_path, tmp_path / "run"), CPU, lambda _: None)
    assert first.lora is not None
    judgements = iter((2.0, 1.0, 0.0))
    monkeypatch.setattr(
        "worker.training.train.mean_gain", lambda _, *weights: next(judgements) if weights else 0.0
    )
    worse = replace(recipe, name="second", structure=0.5)
    places = Places(photo_folder, tmp_path, tmp_path / "other", start=first.lora)

    second = train(worse, places, CPU, lambda _: None)

    assert second.lora is not None
    before, after = load_file(first.lora), load_file(second.lora)
    assert all(torch.equal(before[key], after[key]) for key in before)
