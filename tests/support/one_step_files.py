"""Small LoRAs for one-step restoration with the key names of the published files, and the networks
that they were read from, adapted by PEFT itself.

The layouts are those in which the authors save their weights: adapters `default_encoder`,
`default_decoder` and `default_others` (OSEDiff), the same with `_pix` and `_sem` (PiSA-SR), and
`default` (HYPIR); the first two leave PEFT's alpha of 8 unsaid. TSD-SR's is not served.
"""

import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]
_UNET_LAYERS = (
    *("to_k", "to_q", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_in", "conv_shortcut"),
    *("conv_out", "proj_out", "proj_in", "ff.net.2", "ff.net.0.proj"),
)
_SD3_LAYERS = (
    *("to_k", "to_q", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "proj"),
    *("linear", "proj_out"),
)
_VAE_LAYERS = (
    *("conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out"),
    *("to_k", "to_q", "to_v", "to_out.0"),
)


@dataclass(frozen=True)
class Adapted:
    """Networks with a publication's adapters, and what its authors would save of them."""

    unet: Any
    vae: Any
    saved: dict[str, Any]

    def write(self, path: Path) -> Path:
        """As safetensors, with the names of the parts before those of their tensors."""
        flat = {
            f"{part}.{name}": tensor.contiguous()
            for part, tensors in self.saved.items()
            if isinstance(tensors, dict)
            for name, tensor in tensors.items()
        }
        save_file(flat, path)
        return path


def osediff(pipeline: Any, rank: int = 4) -> Adapted:
    """LoRAs on the UNet and on the autoencoder's encoder, and another first convolution."""
    unet, vae = deepcopy(pipeline.unet), deepcopy(pipeline.vae)
    modules = _add_by_side(unet, rank, "")
    with torch.no_grad():
        for parameter in unet.conv_in.base_layer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    encoder = [*_layers(vae, _VAE_LAYERS, lambda name: "encoder" in name), "quant_conv"]
    _add(vae, "default_encoder", rank, encoder)
    saved = {
        "vae_lora_encoder_modules": encoder,
        **{f"unet_lora_{side}_modules": names for side, names in modules.items()},
        "rank_unet": rank,
        "rank_vae": rank,
        "state_dict_unet": _kept(unet, "lora", "conv_in"),
        "state_dict_vae": _kept(vae, "lora"),
    }
    return Adapted(unet, vae, saved)


def pisa_sr(pipeline: Any, rank: int = 4) -> Adapted:
    """Two LoRAs on the UNet, for fidelity (`pix`) and for detail (`sem`)."""
    unet = deepcopy(pipeline.unet)
    modules = [_layers(unet, _UNET_LAYERS)]
    for part in ("pix", "sem"):
        _add_by_side(unet, rank, f"_{part}")
    saved = {
        "unet_lora_encoder_modules_pix": modules[0],
        "lora_rank_unet_pix": rank,
        "lora_rank_unet_sem": rank,
        "state_dict_unet": _kept(unet, "lora"),
    }
    return Adapted(unet, pipeline.vae, saved)


def hypir(pipeline: Any, rank: int = 8) -> Adapted:
    """One LoRA on the UNet, whose alpha is its rank; the tensors are not nested."""
    unet = deepcopy(pipeline.unet)
    names = [name for name in _layers(unet, _UNET_LAYERS) if name != "conv_in"]
    _add(unet, "default", rank, names, alpha=rank)
    return Adapted(unet, pipeline.vae, _kept(unet, "lora"))


def tsd_sr(folder: Path, transformer: Any, vae: Any, rank: int = 4) -> tuple[Path, Path]:
    """The two files of TSD-SR, saved as its trainer does: both by SD 3's writer of LoRAs."""
    networks = {"transformer": deepcopy(transformer), "vae": deepcopy(vae)}
    encoder = [*_layers(vae, _VAE_LAYERS, lambda name: "encoder" in name)]
    _add(networks["transformer"], "default", rank, list(_SD3_LAYERS), alpha=rank)
    _add(networks["vae"], "default", rank, encoder, alpha=rank)
    for name, network in networks.items():
        StableDiffusion3Pipeline.save_lora_weights(
            folder,
            transformer_lora_layers=get_peft_model_state_dict(network, adapter_name="default"),
            weight_name=f"{name}.safetensors",
        )
    return folder / "transformer.safetensors", folder / "vae.safetensors"


def switched(unet: Any, part: str, is_on: bool) -> None:
    """Lets the adapters whose names end with `part` act or not."""
    for module in unet.modules():
        for name in getattr(module, "scaling", {}):
            if name.endswith(part):
                module.set_scale(name, float(is_on))


def _add_by_side(unet: Any, rank: int, ending: str) -> dict[str, list[str]]:
    sides = {
        "encoder": _layers(
            unet, _UNET_LAYERS, lambda name: "down_blocks" in name or name == "conv_in"
        ),
        "decoder": _layers(
            unet, _UNET_LAYERS, lambda name: "up_blocks" in name or name == "conv_out"
        ),
        "others": _layers(unet, _UNET_LAYERS, lambda name: "mid_block" in name),
    }
    for side, names in sides.items():
        _add(unet, f"default_{side}{ending}", rank, names)
    unet.set_adapter(list(unet.peft_config))
    return sides


def _add(network: Any, name: str, rank: int, layers: list[str], alpha: int = 8) -> None:
    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights=False, target_modules=layers)
    with warnings.catch_warnings():
        # Several adapters on one network are the layout.
        warnings.filterwarnings("ignore", message=".*Already found a `peft_config`.*")
        network.add_adapter(config, adapter_name=name)
    with torch.no_grad():
        for own, parameter in network.named_parameters():
            if f".{name}." in own:
                parameter.normal_(std=0.1)


def _layers(
    network: Any, ends: tuple[str, ...], is_wanted: Callable[[str], bool] = lambda _: True
) -> list[str]:
    return [name for name in _adaptable(network) if name.endswith(ends) and is_wanted(name)]


def _adaptable(network: Any) -> Iterator[str]:
    for name, module in network.named_modules():
        plain = name.replace(".base_layer", "")
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and ".lora_" not in name:
            yield plain


def _kept(network: Any, *words: str) -> Tensors:
    state = network.state_dict()
    return {name: value for name, value in state.items() if any(word in name for word in words)}
