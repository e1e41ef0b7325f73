"""A checkpoint of the real classes, small enough to train in a test, and photos to learn from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worker.training import validation
from worker.training.base.autoencoder import build_autoencoder
from worker.training.base.decoding import DecodingLoss
from worker.training.base.network import (
    assemble,
    build_scheduler,
    build_text_encoder,
    build_unet,
    whiten_input,
)
from worker.training.base.pretraining import fold
from worker.training.base.recipe import DecoderRecipe
from worker.training.base.vocabulary import write_tokenizer
from worker.training.damage.blurring import gaussian
from worker.training.damage.noise import white
from worker.training.loop import Group, Loop, Schedule
from worker.training.photos import load_photos, random_crop
from worker.training.restoration import to_tensor
from worker.training.validation import LEAST_SAMPLES


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads, and threads that wait for a busy core lose much."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample of each photo and kind: what evaluates a real run takes longer than these runs."""
    monkeypatch.setattr(validation, "LEAST_SAMPLES", 1)


@pytest.fixture
def enough_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many samples as evaluate a real run."""
    monkeypatch.setattr(validation, "LEAST_SAMPLES", LEAST_SAMPLES)


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels, 8 and 16 wide, random weights; its cross-attention makes it a `tiny`."""
    folder = tmp_path_factory.mktemp("base") / "small"
    torch.manual_seed(0)
    unet = build_unet((8, 16), norm_epsilon=1.0)
    # An untrained output convolution is zero; an adapter needs something to steer.
    torch.nn.init.normal_(unet.conv_out.weight, std=0.5)
    unet.conv_in.weight.data.mul_(0.02)
    tokenizer = write_tokenizer(["photo", "noise"], folder / "tokenizer")
    vae = build_autoencoder(8, (0, 0), latent_scale=150.0)
    assemble(
        vae, unet, build_text_encoder(tokenizer), tokenizer, build_scheduler()
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def learning_base(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `small_base`, with a decoder that decodes and an input that is whitened."""
    folder = tmp_path_factory.mktemp("base") / "learning"
    torch.manual_seed(0)
    photos = load_photos(photo_folder, 32, 0, 512).training
    settings = DecoderRecipe(16, (0, 0), 400, 4, 32, 5e-3, 0.5, 0.003)
    vae = build_autoencoder(settings.width, settings.blocks, latent_scale=150.0)
    vae.encoder.requires_grad_(False)
    loop = Loop(
        [Group(list(vae.decoder.parameters()))],
        DecodingLoss(vae, photos, settings),
        Schedule(settings.steps, settings.learning_rate, 20, 0.3, seed=0),
    )
    loop.run(settings.steps, lambda _progress: None)
    unet = build_unet((16, 32), norm_epsilon=1.0)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.02)
    random = np.random.default_rng(0)
    crops = [white(random_crop(photos, 32, random).pixels, 15, random) for _ in range(64)]
    whiten_input(unet, fold(to_tensor(crops), 150.0), torch.Generator().manual_seed(0))
    tokenizer = write_tokenizer(["photo", "noise"], folder / "tokenizer")
    assemble(
        vae, unet, build_text_encoder(tokenizer), tokenizer, build_scheduler()
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of soft random shapes, 64 pixels wide."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(8):
        coarse = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        shapes = gaussian(coarse, 3.0).astype(float)
        shapes = (shapes - shapes.mean()) * 6 + 128
        pixels = np.clip(shapes, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"photo{number}.png")
    return folder
