"""A checkpoint of the real classes, small enough to train in a test, and photos to learn from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worker.training.base.autoencoder import build_autoencoder
from worker.training.base.network import assemble, build_text_encoder, build_unet
from worker.training.base.vocabulary import write_tokenizer
from worker.training.degradations import blur


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads, and threads that wait for a busy core lose much."""
    torch.set_num_threads(1)


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
    assemble(vae, unet, build_text_encoder(tokenizer), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of soft random shapes, 64 pixels wide."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(8):
        coarse = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        shapes = blur(coarse, 3.0).astype(float)
        shapes = (shapes - shapes.mean()) * 6 + 128
        pixels = np.clip(shapes, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"photo{number}.png")
    return folder
