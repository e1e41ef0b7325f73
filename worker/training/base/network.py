"""Builds the untrained networks of the embedded base from its recipe: plain classes of SD 1.5.

Owns shapes and first weights. Knows nothing of photos and of the training loop.
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
    """A UNet that starts as the identity: it predicts no noise until it has learnt some.

    Convolutions alone but for the middle, where self and cross attention see the whole picture.
    A large `norm_epsilon` keeps group normalisation from erasing how strong a texture is: what a
    restoration must not forget, and what differs between a crop and a whole picture.
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
    """Set the input convolution to filters whose answers to `latents` are uncorrelated, of size 1.

    Neighbouring pixels are nearly equal, so what a restoration needs, their differences, is some
    forty times smaller than what random filters see. `latents` [N, C, h, w] are typical of what the
    UNet is given, noise included. A rotation spreads the principal components evenly.
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
    """CLIP's text model, 64 wide and two layers deep."""
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
    """SD 1.5's own noise schedule under DPM-Solver++, for the UNet to learn under."""
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
    """The parts as the pipeline that the service loads."""
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
