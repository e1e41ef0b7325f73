"""Reads a LoRA file into plain low-rank pairs, whatever library wrote it.

Names are brought into one form by diffusers' own converters (diffusers, PEFT and kohya spellings).
Knows nothing of devices or of where the pairs are applied.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.utils.state_dict_utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from safetensors.torch import load

from shared.errors import LoraCorrupt
from shared.loras.entry import LoraEntry
from shared.loras.loading import read_checked

PARTS = ("unet", "text_encoder", "text_encoder_2")

_PEFT_PREFIX = re.compile(r"^base_model\.model\.(text_model\.)?")

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LowRank:
    """One layer's change: `scale * up @ down`, of rank r.

    `down` is [r, in] or [r, in, k, k]; `up` is [out, r] or [out, r, 1, 1]; `scale` is alpha / r.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def is_linear(self) -> bool:
        return self.down.dim() == 2

    @property
    def size_bytes(self) -> int:
        return self.down.nbytes + self.up.nbytes

    def delta(self, like: torch.Tensor) -> torch.Tensor:
        """The change of the layer's weight, in its shape, float32, on its device."""
        up, down = (x.to(like.device, torch.float32).flatten(1) for x in (self.up, self.down))
        return (up @ down).reshape(like.shape) * self.scale


@dataclass(frozen=True)
class AdapterWeights:
    """All pairs of one file, by part of the pipeline and by the layer's name in it."""

    parts: Mapping[str, Mapping[str, LowRank]]

    @property
    def size_bytes(self) -> int:
        return sum(pair.size_bytes for layers in self.parts.values() for pair in layers.values())


def read_adapter(pipeline: Any, entry: LoraEntry) -> AdapterWeights:
    """Read a checked file. Raises LoraChanged, or LoraCorrupt where a layer has no place."""
    tensors, alphas, metadata = _converted(pipeline, entry, read_checked(entry))
    parts = {part: _pairs(part, tensors, alphas, metadata) for part in PARTS}
    parts = {part: pairs for part, pairs in parts.items() if pairs}
    for part, pairs in parts.items():
        _check_fit(entry, getattr(pipeline, part, None), pairs)
    if not parts:
        raise LoraCorrupt(f"'{entry.name}' has no weights for this base")
    return AdapterWeights(parts)


def _converted(
    pipeline: Any, entry: LoraEntry, data: bytes
) -> tuple[Tensors, Mapping[str, float], Mapping[str, Any]]:
    try:
        tensors, alphas = pipeline.lora_state_dict(
            _in_pipeline_names(load(data)), unet_config=pipeline.unet.config
        )
    except Exception as error:
        raise LoraCorrupt(f"'{entry.name}' cannot be read") from error
    return tensors, alphas or {}, _adapter_metadata(data)


def _in_pipeline_names(tensors: Tensors) -> Tensors:
    """PEFT's own files say `base_model.model.`, where the pipeline wants to know which model."""
    return {_PEFT_PREFIX.sub(_part_prefix, key): value for key, value in tensors.items()}


def _part_prefix(found: re.Match[str]) -> str:
    return f"text_encoder.{found[1]}" if found[1] else "unet."


def _adapter_metadata(data: bytes) -> Mapping[str, Any]:
    """Ranks and alphas as diffusers writes them beside the tensors."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    found = json.loads(metadata.get(LORA_ADAPTER_METADATA_KEY) or "{}")
    return found if isinstance(found, dict) else {}


def _pairs(
    part: str, tensors: Tensors, alphas: Mapping[str, float], metadata: Mapping[str, Any]
) -> dict[str, LowRank]:
    named = _in_peft_names(part, _under(part, tensors))
    scales = {_layer(key): float(value) for key, value in _alphas_of(part, alphas).items()}
    config = {
        key.removeprefix(f"{part}."): v for key, v in metadata.items() if key.startswith(part)
    }
    pairs = {}
    for key in named:
        layer, _, which = key.partition(".lora_A")
        if which:
            down, up = named[key], named[f"{layer}.lora_B.weight"]
            rank = down.shape[0]
            alpha = scales.get(layer, _configured_alpha(config, layer, rank))
            pairs[layer] = LowRank(down, up, alpha / rank)
    return pairs


def _under(part: str, tensors: Tensors) -> Tensors:
    return {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}


def _in_peft_names(part: str, tensors: Tensors) -> Tensors:
    """Every key as `LAYER.lora_A.weight` or `LAYER.lora_B.weight`; files may mix spellings."""
    done = {k: v for k, v in tensors.items() if ".lora_A." in k or ".lora_B." in k}
    rest = {k: v for k, v in tensors.items() if k not in done}
    if not rest:
        return done
    renamed: Tensors
    if part == "unet":
        renamed = convert_unet_state_dict_to_peft(rest)
    else:
        renamed = convert_state_dict_to_peft(convert_state_dict_to_diffusers(rest))
    return done | renamed


def _alphas_of(part: str, alphas: Mapping[str, float]) -> Mapping[str, float]:
    under = {k.removeprefix(f"{part}."): v for k, v in alphas.items() if k.startswith(f"{part}.")}
    return convert_unet_state_dict_to_peft(under) if part == "unet" else under


def _layer(key: str) -> str:
    for mark in (".lora_A", ".lora_B", ".lora_linear_layer", ".alpha"):
        key = key.split(mark)[0]
    return key


def _configured_alpha(config: Mapping[str, Any], layer: str, rank: int) -> float:
    patterns = config.get("alpha_pattern") or {}
    if layer in patterns:
        return float(patterns[layer])
    alpha, common_rank = config.get("lora_alpha"), config.get("r")
    # Without metadata the convention is alpha == rank; a layer of a rank of its own keeps scale 1.
    if alpha is None or (alpha == common_rank and rank != common_rank):
        return float(rank)
    return float(alpha)


def _check_fit(
    entry: LoraEntry, module: torch.nn.Module | None, pairs: Mapping[str, LowRank]
) -> None:
    for layer, pair in pairs.items():
        weight = _weight_of(module, layer)
        expected = (pair.up.shape[0], *pair.down.shape[1:])
        if weight is None or tuple(weight.shape) != expected:
            raise LoraCorrupt(f"'{entry.name}' does not fit this base at {layer}")


def _weight_of(module: torch.nn.Module | None, layer: str) -> torch.Tensor | None:
    try:
        found = module.get_submodule(layer) if module is not None else None
    except AttributeError:
        return None
    weight = getattr(found, "weight", None)
    return weight if isinstance(weight, torch.Tensor) else None
