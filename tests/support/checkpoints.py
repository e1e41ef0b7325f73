"""Small random checkpoints of the real classes, in folders that diffusers loads: SD 1.5, 2.1, XL.

For tests of loading and stepping only: their pictures mean nothing.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

_BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


# Removed when the process ends.
_kept = cache(lambda: tempfile.TemporaryDirectory(prefix="checkpoints-"))


def _made_once(make: Callable[..., Path]) -> Callable[..., Path]:
    """A copy of files takes a tenth of the time that networks take to be made and saved."""

    @cache
    def original(*given: object) -> Path:
        return make(Path(_kept().name) / "_".join([make.__name__, *map(str, given)]), *given)

    @wraps(make)
    def copy(folder: Path, *given: object) -> Path:
        shutil.copytree(original(*given), folder, dirs_exist_ok=True)
        return folder

    return copy


@_made_once
def make_sd15(folder: Path, cross_attention_dim: int = 768) -> Path:
    """A checkpoint of SD 1.5's classes (of SD 2.1's width with 1024)."""
    scheduler = PNDMScheduler(skip_prk_steps=True, **_BETAS)
    return _stable_diffusion(folder, small_unet(cross_attention_dim), scheduler)


@_made_once
def make_sd21(folder: Path) -> Path:
    """A checkpoint of SD 2.1's classes: velocity prediction, linear projections."""
    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, **_BETAS)
    return _stable_diffusion(folder, small_unet(1024, use_linear_projection=True), scheduler)


def _stable_diffusion(folder: Path, unet: UNet2DConditionModel, scheduler: object) -> Path:
    torch.manual_seed(0)
    StableDiffusionPipeline(
        vae=small_vae(),
        unet=unet,
        text_encoder=CLIPTextModel(small_text(unet.config.cross_attention_dim)),
        tokenizer=letters(folder / "words"),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


@_made_once
def make_sdxl(folder: Path) -> Path:
    """A checkpoint of SDXL's classes, with both text encoders."""
    torch.manual_seed(0)
    StableDiffusionXLPipeline(
        vae=small_vae(),
        unet=small_unet(
            2048,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=8 * 6 + 1280,
        ),
        text_encoder=CLIPTextModel(small_text(768)),
        text_encoder_2=CLIPTextModelWithProjection(small_text(1280)),
        tokenizer=letters(folder / "words"),
        tokenizer_2=letters(folder / "words"),
        scheduler=EulerDiscreteScheduler(**_BETAS),
    ).save_pretrained(folder)
    return folder


def small_unet(
    cross_attention_dim: int, layers_per_block: int = 1, **extra: object
) -> UNet2DConditionModel:
    """A UNet of two levels with very few channels, for text embeddings of this width."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=layers_per_block,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=4,
        norm_num_groups=8,
        **extra,
    )


def small_vae(**extra: object) -> AutoencoderKL:
    """SD's autoencoder, with sides shrunk eight times and very few channels."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        **extra,
    )


def small_text(width: int) -> CLIPTextConfig:
    """A text encoder of the real width for the vocabulary of `letters`."""
    return CLIPTextConfig(
        vocab_size=300,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=298,
        eos_token_id=299,
        pad_token_id=299,
    )


def letters(folder: Path) -> CLIPTokenizer:
    """A tokenizer with a byte-level vocabulary of 300 without merges, its files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    words = letters + [letter + "</w>" for letter in letters]
    words += [f"unused{index}" for index in range(298 - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=77
    )
