"""Training on bases that predict velocity, on SDXL, and on none of ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.checkpoints import make_sd15, make_sd21, make_sdxl
from worker.training.buckets import Buckets
from worker.training.errors import TrainingError
from worker.training.frozen_base import FrozenBase, load_frozen
from worker.training.photos import Photo
from worker.training.recipe import Recipe
from worker.training.style import StyleLoss, min_snr_weight
from worker.training.train import metadata

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def velocity(tmp_path_factory: pytest.TempPathFactory) -> FrozenBase:
    return load_frozen(str(make_sd21(tmp_path_factory.mktemp("v") / "base")), CPU, bfloat16=False)


def test_a_base_that_predicts_velocity_is_taught_velocity(velocity: FrozenBase) -> None:
    assert velocity.predicts_velocity
    clean, noise = torch.randn(2, 2, 4, 8, 8)
    alpha, sigma = velocity.levels(torch.tensor([100, 800]))
    target = velocity.target(clean, noise, torch.tensor([100, 800]))
    torch.testing.assert_close(target, alpha * noise - sigma * clean)


def test_the_noise_in_a_predicted_velocity_is_what_diffusers_takes_it_for(
    velocity: FrozenBase,
) -> None:
    z, timestep = torch.randn(1, 4, 8, 8), 500
    words = velocity.embed(["a photo"])
    with torch.no_grad():
        noise = velocity.noise(z, timestep, words)
        output = velocity.output(z, timestep, words)
    alpha, sigma = velocity.levels(timestep)
    clean = alpha * z - sigma * output  # v-prediction's picture, as in diffusers' schedulers
    torch.testing.assert_close(alpha * clean + sigma * noise, z, atol=1e-5, rtol=1e-4)


def test_the_metadata_say_what_the_base_predicts() -> None:
    recipe = Recipe(name="x", base="stabilityai/stable-diffusion-2-1")
    assert metadata(recipe, True)["modelspec.prediction_type"] == "v"
    assert metadata(recipe, False)["modelspec.prediction_type"] == "epsilon"


@pytest.mark.parametrize("predicts_velocity", [False, True])
def test_min_snr_gives_all_levels_the_same_weight_up_to_a_limit(predicts_velocity: bool) -> None:
    alphas = torch.tensor([0.999, 0.9, 0.5, 0.1]).sqrt()
    sigmas = (1 - alphas.square()).sqrt()
    snr = (alphas / sigmas).square()
    weight = min_snr_weight(alphas, sigmas, predicts_velocity)
    # In terms of the picture's error: noise is off by sigma / alpha of it, velocity by 1 / sigma.
    of_picture = weight * (1 + snr) if predicts_velocity else weight * snr
    torch.testing.assert_close(of_picture, snr.clamp(max=5.0))
    assert torch.isfinite(min_snr_weight(torch.ones(1), torch.zeros(1), predicts_velocity)).all()
    assert torch.isfinite(min_snr_weight(torch.zeros(1), torch.ones(1), predicts_velocity)).all()


@pytest.mark.parametrize("make", [make_sd21, make_sdxl])
def test_a_style_is_trained_on_it(make: object, tmp_path: Path) -> None:
    base = load_frozen(str(make(tmp_path / "base")), CPU, bfloat16=False)  # type: ignore[operator]
    photos = [Photo("a", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "a cat")]
    recipe = Recipe(name="x", base="x", task="style", crop=64, batch=2, prompts=("old",))
    base.unet.requires_grad_(True)
    loss = StyleLoss(base, photos, recipe)(np.random.default_rng(1), 0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert float(base.unet.conv_out.weight.grad.abs().sum()) > 0


def test_a_base_of_no_known_family_is_refused_in_words(tmp_path: Path) -> None:
    folder = make_sd15(tmp_path / "base")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"cross_attention_dim": 333}))
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "OtherPipeline"))
    with pytest.raises(TrainingError, match=r"an unknown base; LoRAs can be trained for .*SDXL"):
        load_frozen(str(folder), CPU, bfloat16=False)


def test_photos_of_a_style_stay_upright() -> None:
    dark_above = np.zeros((48, 48, 3), np.uint8)
    dark_above[24:] = np.asarray(Image.new("RGB", (48, 24), "white"))
    buckets = Buckets([Photo("horizon", dark_above)], 48)
    random = np.random.default_rng(0)
    for photo in buckets.draw(20, random):
        assert photo.pixels[0].mean() < photo.pixels[-1].mean()


def test_a_batch_has_one_size_and_a_portrait_keeps_its_head_and_feet() -> None:
    tall, wide = np.zeros((96, 48, 3), np.uint8), np.zeros((60, 90, 3), np.uint8)
    tall[:4], tall[-4:] = 255, 255
    buckets = Buckets([Photo("tall", tall, "a person"), Photo("wide", wide)], 64)
    random, seen = np.random.default_rng(0), set[tuple[int, ...]]()
    for _ in range(20):
        drawn = buckets.draw(3, random)
        shapes = {photo.pixels.shape for photo in drawn}
        assert len(shapes) == 1
        seen |= shapes
        for photo in drawn:
            if photo.name == "tall":
                assert photo.caption == "a person"
                assert min(photo.pixels[0].mean(), photo.pixels[-1].mean()) > 200
    assert seen == {(96, 48, 3), (48, 80, 3)}
