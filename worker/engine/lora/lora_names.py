"""The names of a LoRA file's tensors, from any spelling to the pipeline's own modules.

Two ends of one way: before diffusers' converters, what they do not read is brought into a spelling
that they do; behind them, what they leave is brought into PEFT's. Knows nothing of values.
"""

import re
from typing import Any

import torch
from diffusers.utils.state_dict_utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)

Tensors = dict[str, torch.Tensor]

# PEFT's own files do not say which of a pipeline's models they are for.
_PEFT = re.compile(r"^base_model\.model\.(text_model\.|encoder\.layers\.)?")
_ADAPTER_NAME = re.compile(r"\.(lora_[AB])\.\w+\.weight$")
_COMFY = re.compile(r"^diffusion_model\.(.+)\.(lora_\w+\.weight|alpha)$")
_BARE_UNET = re.compile(r"^(?:down_blocks|mid_block|up_blocks)\.")
_KOHYA_FACTORS = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
_INNER = "text_model."


def in_pipeline_names(tensors: Tensors) -> Tensors:
    """The tensors in names that the pipeline's `lora_state_dict` reads."""
    return {_readable(key): value for key, value in tensors.items()}


def _readable(key: str) -> str:
    key = _ADAPTER_NAME.sub(r".\1.weight", _PEFT.sub(_which_model, key))
    comfy = _COMFY.match(key)
    if comfy:
        module, factor = comfy.groups()
        return f"lora_unet_{module.replace('.', '_')}.{_KOHYA_FACTORS.get(factor, factor)}"
    return f"unet.{key}" if _BARE_UNET.match(key) else key


def _which_model(found: re.Match[str]) -> str:
    return f"text_encoder.{found[1]}" if found[1] else "unet."


def in_peft_names(part: str, values: dict[str, Any]) -> dict[str, Any]:
    """Every key as `LAYER.lora_A.weight` or `LAYER.lora_B.weight`; files may mix spellings."""
    done = {k: v for k, v in values.items() if ".lora_A." in k or ".lora_B." in k}
    rest = {k: v for k, v in values.items() if k not in done}
    if not rest:
        return done
    renamed: dict[str, Any]
    if part == "unet":
        renamed = convert_unet_state_dict_to_peft(rest)
    else:
        renamed = convert_state_dict_to_peft(convert_state_dict_to_diffusers(rest))
    return done | renamed


def in_module_names(values: dict[str, Any], module: torch.nn.Module | None) -> dict[str, Any]:
    """The same under the names of `module`'s layers.

    Files of CLIP text encoders say `text_model.`, which transformers 5 has taken away from some
    classes and left to others.
    """
    if module is None or hasattr(module, "text_model"):
        return values
    return {key.removeprefix(_INNER): value for key, value in values.items()}
