"""Builds the untrained networks of the embedded base from its recipe: SD 1.5's classes.

Owns shapes and initial weights. Knows nothing of photos and of the training loop.
"""

from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.models import AutoencoderTiny
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from worker.training.base.autoencoder import CHANNELS

TEXT_WIDTH = 64


def build_unet(widths: tuple[int, ...], norm_epsilon: float) -> Any:
    """A UNet that starts as the identity: it predicts no noise until it is trained.

    Convolutions only, except in the middle, where self and cross attention see the whole picture. A
    large `norm_epsilon` keeps group normalisation from removing the strength of a texture, which a
    restoration must preserve, and which differs between a crop and a whole picture.
    """
    unet = UNet2DConditionModel(
        sample_size=256,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(widths),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D",) * len(widths),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        norm_eps=norm_epsilon,
    )
    with torch.no_grad():
        unet.conv_out.weight.zero_()
        unet.conv_out.bias.zero_()
    return unet


@torch.no_grad()
def whiten_input(unet: Any, latents: torch.Tensor, generator: torch.Generator) -> None:
    """Sets the input convolution to filters whose outputs for `latents` are uncorrelated, of size
    1.

    Neighbouring pixels are nearly equal, so their differences, which a restoration needs, are about
    forty times smaller than the outputs of random filters. `latents` [N, C, h, w] are typical
    inputs of the UNet, noise included. A rotation distributes the principal components evenly.
    """
    weight = unet.conv_in.weight
    patches = torch.nn.functional.unfold(latents.double(), 3).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T))
    strongest = torch.arange(len(values) - 1, len(values) - 1 - len(weight), -1)
    filters = (vectors[:, strongest] / values[strongest].sqrt()).T
    turn, _ = torch.linalg.qr(torch.randn(len(weight), len(weight), generator=generator))
    filters = turn.double() @ filters
    weight.copy_(filters.view(weight.shape))
    unet.conv_in.bias.copy_(-(filters @ mean))


def build_text_encoder(tokenizer: CLIPTokenizer) -> Any:
    """CLIP's text model with width 64 and two layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """SD 1.5's noise schedule with DPM-Solver++, for training the UNet."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        steps_offset=1,
    )


def assemble(
    vae: AutoencoderTiny,
    unet: Any,
    text_encoder: Any,
    tokenizer: CLIPTokenizer,
    scheduler: DPMSolverMultistepScheduler,
) -> StableDiffusionImg2ImgPipeline:
    """Assembles the parts into the pipeline that the service loads."""
    return StableDiffusionImg2ImgPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
