"""Puts a LoRA on a frozen UNet, and writes it as diffusers does.

Owns which layers are adapted and the file's keys and metadata. Knows nothing of photos and losses.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import StableDiffusionImg2ImgPipeline
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
# Every layer of an image's size that can change what is drawn. The input convolution stays out:
# it sees latents whose size differs by orders of magnitude between bases.
CONVOLUTIONS = [
    "conv1",
    "conv2",
    "conv_shortcut",
    "conv_out",
    "conv",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "time_emb_proj",
]


def add_adapter(unet: Any, rank: int, convolutions: bool) -> list[torch.nn.Parameter]:
    """Freeze the UNet, add a LoRA of `rank` and alpha = rank, and give its parameters."""
    unet.requires_grad_(False)
    targets = ATTENTION + (CONVOLUTIONS if convolutions else [])
    # Another alpha than the rank would be lost by readers that ignore the metadata.
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets)
    )
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def adapter_state(unet: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors in PEFT's own names."""
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(unet)
    return state


def load_adapter_state(unet: Any, state: dict[str, torch.Tensor]) -> None:
    """Undo `adapter_state`."""
    set_peft_model_state_dict(unet, state)


def save_adapter(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write `path` in fp16 under the names that `save_lora_weights` gives, and `metadata` beside.

    The names stay PEFT's: converting them first makes the loader drop the attention layers, since
    it judges a file by its first key.
    """
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in state.items()}
    with TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        StableDiffusionImg2ImgPipeline.save_lora_weights(
            folder, unet_lora_layers=half, weight_name=path.name
        )
        written = Path(folder) / path.name
        with safe_open(written, framework="pt") as opened:
            kept = dict(opened.metadata() or {})
        save_file(load_file(written), written, metadata=kept | metadata)
        # safetensors writes for the owner alone; the service may run as another user.
        written.chmod(0o644)
        # A service that watches the folder sees the whole file or none.
        written.replace(path)
