"""Reads a LoRA file into plain low-rank pairs, whatever library wrote it.

Names are brought into one form by worker/engine/lora/lora_names.py and diffusers' own converters.
Knows nothing of devices or of where the pairs are applied.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from safetensors.torch import load

from shared.errors import LoraCorrupt
from shared.loras.checked_read import read_checked
from shared.loras.entry import LoraEntry
from worker.engine.lora.lora_names import Tensors, in_module_names, in_peft_names, in_pipeline_names

PARTS = ("unet", "text_encoder", "text_encoder_2")


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
    """All pairs of one file, by part of the pipeline and by the layer's name in it.

    `name` is the file's in the catalogue, for people to read.
    """

    name: str
    parts: Mapping[str, Mapping[str, LowRank]]

    @property
    def size_bytes(self) -> int:
        return sum(pair.size_bytes for layers in self.parts.values() for pair in layers.values())


def read_adapter(pipeline: Any, entry: LoraEntry) -> AdapterWeights:
    """Read a checked file. Raises LoraChanged, or LoraCorrupt where a layer has no place."""
    data = read_checked(entry)
    try:
        found = _parts(pipeline, data)
    except Exception as error:
        raise LoraCorrupt(f"'{entry.name}' cannot be read") from error
    for part, pairs in found.items():
        _check_fit(entry, getattr(pipeline, part, None), pairs)
    if not found:
        raise LoraCorrupt(f"'{entry.name}' has no weights for this base")
    return AdapterWeights(entry.name, found)


def _parts(pipeline: Any, data: bytes) -> dict[str, dict[str, LowRank]]:
    named = in_pipeline_names(load(data))
    tensors, alphas = pipeline.lora_state_dict(named, unet_config=pipeline.unet.config)
    metadata = _adapter_metadata(data)
    found = {}
    for part in PARTS:
        module = getattr(pipeline, part, None)
        pairs = _pairs(part, module, tensors, alphas or {}, metadata)
        if pairs:
            found[part] = pairs
    return found


def _adapter_metadata(data: bytes) -> Mapping[str, Any]:
    """Ranks and alphas as diffusers writes them beside the tensors."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    found = json.loads(metadata.get(LORA_ADAPTER_METADATA_KEY) or "{}")
    return found if isinstance(found, dict) else {}


def _pairs(
    part: str,
    module: torch.nn.Module | None,
    tensors: Tensors,
    alphas: Mapping[str, float],
    metadata: Mapping[str, Any],
) -> dict[str, LowRank]:
    named = in_module_names(in_peft_names(part, _under(part, tensors)), module)
    scales = {
        _layer(key): float(value)
        for key, value in in_module_names(_alphas_of(part, alphas), module).items()
    }
    config = _under(part, metadata)
    pairs = {}
    for key in named:
        layer, _, which = key.partition(".lora_A")
        if which:
            down, up = named[key], named[f"{layer}.lora_B.weight"]
            rank = down.shape[0]
            alpha = scales.get(layer, _configured_alpha(config, layer, rank))
            pairs[layer] = LowRank(down, up, alpha / rank)
    return pairs


def _under(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(f"{part}."): v for k, v in values.items() if k.startswith(f"{part}.")}


def _alphas_of(part: str, alphas: Mapping[str, float]) -> dict[str, Any]:
    """Alphas by the name of the tensor that they belong to; diffusers only adds `.alpha` to it."""
    plain = {key.removesuffix(".alpha"): value for key, value in _under(part, alphas).items()}
    return in_peft_names(part, plain)


def _layer(key: str) -> str:
    return key.partition(".lora_")[0].removesuffix(".alpha")


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
