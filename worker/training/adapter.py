"""Adds a LoRA to a frozen UNet, and writes it in diffusers' format.

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
# Every layer on image features that can change the output. The input convolution is left out: its
# latents differ in size by orders of magnitude between bases.
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


# A base fixed to one noise level does not see the timestep; a LoRA can.
TIMESTEP = "time_embedding.linear_1"
# The timestep is encoded as waves, the shortest of them a few timesteps long. A change that is to
# be smooth in the strength may use only waves whose half is longer than the whole schedule.
SMOOTH_SHARE = 3 / 8


def add_adapter(
    unet: Any, rank: int, convolutions: bool, timed: bool = False
) -> list[torch.nn.Parameter]:
    """Freezes the UNet, adds a LoRA of `rank` and alpha = rank, and returns its parameters.

    A `timed` one may depend on the timestep, smoothly from one to the next.
    """
    unet.requires_grad_(False)
    targets = ATTENTION + (CONVOLUTIONS if convolutions else []) + ([TIMESTEP] if timed else [])
    # Readers that ignore the metadata would lose any alpha other than the rank.
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets)
    )
    if timed:
        _see_smooth_waves(unet.time_embedding.linear_1)
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def _see_smooth_waves(layer: Any) -> None:
    """Sets a LoRA's first factor to zero for all but the longest waves of the timestep,
    permanently.
    """
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
    """Computes every adapted layer with its LoRA added to its weight: the same result in less time.

    Beside the layer, a LoRA costs three more passes over every picture, forward and backward; in
    the weight it costs one product of two small matrices.
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
    """Undoes `adapter_state`."""
    set_peft_model_state_dict(unet, state)


def save_adapter(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Writes `path` in fp16 with the names of `save_lora_weights`, and `metadata` in the file.

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
        # safetensors makes files readable for the owner only; the service may run as another user.
        written.chmod(0o644)
        # A service that watches the folder sees the complete file or none.
        written.replace(path)
