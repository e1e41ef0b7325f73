"""Published networks in their real size, without memory."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from shared.checkpoints.published import published_configs


def on_meta(family: str) -> dict[str, torch.nn.Module]:
    """The family's networks, by the name of their part."""
    config = published_configs(family)
    with torch.device("meta"):
        parts: dict[str, torch.nn.Module] = {
            "unet": UNet2DConditionModel.from_config(config["unet"]),
            "vae": AutoencoderKL.from_config(config["vae"]),
        }
        for part in ("text_encoder", "text_encoder_2"):
            if part in config:
                parts[part] = CLIPTextModel(CLIPTextConfig(**config[part]))
    return parts
