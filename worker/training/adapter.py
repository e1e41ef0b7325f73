"""Puts a LoRA on a frozen UNet, and writes it as diffusers does.

Owns which layers are adapted and the file's keys and metadata. Knows nothing of photos and losses.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import StableDiffusionImg2ImgPipeline
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

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


# A base that was settled on one noise level does not see the timestep; a LoRA can.
TIMESTEP = "time_embedding.linear_1"
# The timestep comes as waves, the first of them a few timesteps long. What is to change evenly with
# the strength may look at those alone whose half is longer than the whole schedule.
SMOOTH_SHARE = 3 / 8


def add_adapter(
    unet: Any, rank: int, convolutions: bool, timed: bool = False
) -> list[torch.nn.Parameter]:
    """Freeze the UNet, add a LoRA of `rank` and alpha = rank, and give its parameters.

    A `timed` one may do something else at every timestep, evenly from one to the next.
    """
    unet.requires_grad_(False)
    targets = ATTENTION + (CONVOLUTIONS if convolutions else []) + ([TIMESTEP] if timed else [])
    # Another alpha than the rank would be lost by readers that ignore the metadata.
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets)
    )
    if timed:
        _see_smooth_waves(unet.time_embedding.linear_1)
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def _see_smooth_waves(layer: Any) -> None:
    """Blind a LoRA's first factor for all waves of the timestep but the longest, for good."""
    (down,) = layer.lora_A.values()
    half = down.in_features // 2
    smooth = max(1, int(half * SMOOTH_SHARE))
    seen = torch.zeros(down.in_features)
    for begin in (0, half):
        seen[begin + half - smooth : begin + half] = 1
    with torch.no_grad():
        down.weight.mul_(seen)
    down.weight.register_hook(lambda gradient: gradient * seen.to(gradient.device))


def merge_while_training(unet: Any) -> None:
    """Compute every adapted layer with its LoRA in its weight: the same answer, in less time.

    Beside the layer, a LoRA costs three more passes over every picture, forwards and back; in the
    weight it costs one product of two small matrices.
    """
    for layer in unet.modules():
        if isinstance(layer, LoraLayer) and hasattr(layer, "base_layer"):
            layer.forward = _merged_forward(layer)


def _merged_forward(layer: Any) -> Callable[..., torch.Tensor]:
    (name,) = layer.lora_A
    below, above, base = layer.lora_A[name], layer.lora_B[name], layer.base_layer

    def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        change = above.weight.flatten(1) @ below.weight.flatten(1)
        weight = base.weight + layer.scaling[name] * change.view(base.weight.shape)
        if isinstance(base, torch.nn.Linear):
            return functional.linear(x, weight, base.bias)
        answer: torch.Tensor = base._conv_forward(x, weight, base.bias)
        return answer

    return forward


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
