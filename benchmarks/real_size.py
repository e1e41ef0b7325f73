"""SD 1.5 and SDXL in their real sizes, with random weights: what speed needs, without a download.

The configurations are those of the published checkpoints. Written to a folder once, then loaded as
any checkpoint is. `small` keeps the classes and takes sizes that a CPU steps in milliseconds.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

_ATTENTION = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")


def make_checkpoint(family: str, folder: Path, small: bool = False) -> Path:
    """A folder with a random `sd15` or `sdxl`; kept when it is there already."""
    if not (folder / "model_index.json").exists():
        torch.manual_seed(0)
        with torch.device("cpu"):
            pipeline = _sd15(folder, small) if family == "sd15" else _sdxl(folder, small)
        pipeline.to(torch.float16).save_pretrained(folder)
    return folder


def _sd15(folder: Path, small: bool) -> Any:
    widths = (16, 32, 32, 32) if small else (320, 640, 1280, 1280)
    unet = _unet(
        widths,
        sample_size=64,
        attention_head_dim=8,
        cross_attention_dim=768,
        down_block_types=(_ATTENTION[0],) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + (_ATTENTION[1],) * 3,
    )
    return StableDiffusionPipeline(
        unet=unet,
        vae=_vae(small, 0.18215),
        text_encoder=CLIPTextModel(_clip(768, 12, small)),
        tokenizer=_tokenizer(folder / "words"),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(folder: Path, small: bool) -> Any:
    widths = (16, 32, 32) if small else (320, 640, 1280)
    unet = _unet(
        widths,
        sample_size=128,
        attention_head_dim=(2, 4, 4) if small else (5, 10, 20),
        cross_attention_dim=2048,
        transformer_layers_per_block=1 if small else (1, 2, 10),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        down_block_types=("DownBlock2D",) + (_ATTENTION[0],) * 2,
        up_block_types=(_ATTENTION[1],) * 2 + ("UpBlock2D",),
    )
    words = _tokenizer(folder / "words")
    return StableDiffusionXLPipeline(
        unet=unet,
        vae=_vae(small, 0.13025),
        text_encoder=CLIPTextModel(_clip(768, 12, small)),
        text_encoder_2=CLIPTextModelWithProjection(_clip(1280, 32, small)),
        tokenizer=words,
        tokenizer_2=words,
        scheduler=_scheduler(),
    )


def _unet(widths: tuple[int, ...], **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=widths,
        norm_num_groups=min(32, widths[0] // 2),
        **options,
    )


def _vae(small: bool, scaling: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16) if small else (128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1 if small else 2,
        norm_num_groups=4 if small else 32,
        scaling_factor=scaling,
    )


def _clip(width: int, layers: int, small: bool) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=300,
        hidden_size=width,
        intermediate_size=32 if small else width * 4,
        num_hidden_layers=2 if small else layers,
        num_attention_heads=width // 64,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=298,
        eos_token_id=299,
        pad_token_id=299,
    )


def _scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """A vocabulary of letters: how words are split makes no difference to speed."""
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
