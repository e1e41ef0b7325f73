"""The parts that the embedded base is made from."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTokenizer

from worker.training.adapter import load_adapter_state
from worker.training.base.autoencoder import RAW_SPAN, build_autoencoder
from worker.training.base.carving import carved, flatness
from worker.training.base.network import build_unet, whiten_input
from worker.training.base.neutral import NoisyBatch, neutralise, start_adapter
from worker.training.base.recipe import read_recipe
from worker.training.base.vocabulary import build_vocabulary, write_tokenizer
from worker.training.errors import TrainingError

SHIPPED_RECIPE = Path(__file__).parents[3] / "models" / "tiny" / "recipe.toml"


def test_the_encoder_loses_nothing() -> None:
    vae = build_autoencoder(8, (0, 0), latent_scale=150.0)
    pixels = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        raw = vae.encode(pixels).latents
    unfolded = torch.nn.functional.pixel_shuffle(raw / RAW_SPAN, 2)
    torch.testing.assert_close(unfolded, pixels, atol=1e-6, rtol=0)


def test_a_fresh_unet_predicts_no_noise() -> None:
    unet = build_unet((8, 16), norm_epsilon=1.0)
    with torch.no_grad():
        noise = unet(torch.randn(1, 12, 16, 16), 300, torch.randn(1, 4, 64)).sample
    assert noise.abs().max() == 0


def test_the_input_convolution_whitens_what_it_is_shown() -> None:
    # Given latents of which one channel is a hundred times the others and all follow it
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(64, 1, 12, 12, generator=generator) * 100
    latents = common + torch.randn(64, 12, 12, 12, generator=generator)
    unet = build_unet((8, 16), norm_epsilon=1.0)

    whiten_input(unet, latents, generator)

    with torch.no_grad():
        inner = unet.conv_in(latents)[..., 1:-1, 1:-1]
    answers = inner.transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(answers), torch.eye(8), atol=0.02, rtol=0)


def test_words_are_one_token_and_anything_else_is_spelled(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(["photo", "noise"], tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer("photo noise").input_ids) == 4
    strange = again("猫 x").input_ids
    assert strange[0] == again.bos_token_id
    assert again.unk_token_id not in strange[1:-1]
    assert {p.name for p in tmp_path.iterdir()} >= {"vocab.json", "merges.txt", "tokenizer.json"}


def test_every_merge_makes_a_token() -> None:
    vocabulary, merges = build_vocabulary(["sharpen", "sharp", "a"])
    assert all(first + second in vocabulary for first, second in merges)
    assert len(set(vocabulary.values())) == len(vocabulary)


def test_pictures_are_carved_out_of_an_archive() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    streams = []
    for kind in ("WEBP", "JPEG"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        streams.append(buffer.getvalue())
    archive = b"qres" + b"\0" * 50 + streams[0] + b"filler" + streams[1] + b"end"
    found = [Image.open(io.BytesIO(stream)) for stream in carved(archive)]
    assert [picture.format for picture in found] == ["WEBP", "JPEG"]
    assert all(picture.convert("RGB").size == (30, 40) for picture in found)


def test_a_drawing_is_flat_and_a_photo_is_not() -> None:
    drawing = np.zeros((20, 20, 3), np.uint8)
    grain = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert flatness(drawing) == 1
    assert flatness(grain) < 0.01


def test_what_neutralising_takes_away_the_first_adapter_gives_back() -> None:
    # Given a UNet that predicts something, and what it predicts
    torch.manual_seed(0)
    unet = build_unet((8, 16), norm_epsilon=1.0)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.5)
    z, words = torch.randn(1, 12, 16, 16) * 50, torch.zeros(1, 4, 64)
    unet.conv_in.weight.data.mul_(0.02)
    before = answer(unet, z, words)

    # When it is made neutral and given its first adapter
    noise = torch.randn(z.shape)
    change = neutralise(unet, [NoisyBatch(z, 300, words, noise)])
    neutral = answer(unet, z, words)
    load = start_adapter(unet, change, rank=16)
    load_adapter_state(unet, load)

    assert (neutral - before).abs().mean() > 0.1
    torch.testing.assert_close(answer(unet, z, words), before, atol=1e-3, rtol=1e-3)


def answer(unet: torch.nn.Module, z: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        predicted: torch.Tensor = unet(z, 300, words).sample
    return predicted


def test_the_shipped_recipe_is_whole_and_keeps_the_measuring_photos_out() -> None:
    recipe = read_recipe(SHIPPED_RECIPE)
    assert len(recipe.photos.keep) == len(set(recipe.photos.keep))
    packages = {name.split("__")[0] for name in recipe.photos.keep}
    assert packages == set(recipe.photos.packages)
    assert not any("skimage" in name or "sklearn" in name for name in packages)


@pytest.mark.parametrize("text", ["seed = ", "seed = 1\n", "seed = 1\nwords = []\n[photos]\n"])
def test_a_recipe_that_is_torn_or_lacks_a_field_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match="not a recipe"):
        read_recipe(path)
