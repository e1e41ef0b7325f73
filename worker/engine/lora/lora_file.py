"""Loads a LoRA file as changes of a pipeline's weights, whatever program wrote it.

shared/loras/placement.py says to which module each tensor belongs; the catalogue judges by it too.
Does not know devices or where the changes are applied.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import torch
from safetensors.torch import load

from shared.errors import LoraCorrupt
from shared.loras.autoencoder_plan import is_of_encoder
from shared.loras.checked_read import read_checked
from shared.loras.dialects import PARTS, SEMANTIC, UNET, VAE
from shared.loras.entry import LoraEntry
from shared.loras.header import read_header
from shared.loras.layers import Layer, read_layers
from shared.loras.modules import Modules
from shared.loras.one_step import PUBLISHED_ALPHA, layout_of
from shared.loras.placement import Target, place
from shared.loras.scaling import Scaling, read_scaling
from worker.engine.lora.changes import (
    Change,
    Decomposed,
    Dense,
    LowRank,
    Rule,
    Tensors,
    Together,
    added,
    generalised,
    hadamard,
    kronecker,
    low_rank_with_core,
    replaced,
    rotated,
    rotated_by_butterflies,
    rotated_inputs,
)

__all__ = ["PARTS", "AdapterWeights", "LowRank", "modules_of_pipeline", "read_adapter"]

# Kinds that are computed in full, by a part that each has; and the parts that give their rank.
_FORMS: tuple[tuple[str, Rule, str], ...] = (
    ("hada_w1_b", hadamard, "hada_w1_b"),
    ("b2", generalised, "b2"),
    ("diff", added, ""),
    ("set_weight", replaced, ""),
)
_KRONECKER = ("lokr_w2_b", "lokr_w1_b")
_NEUMANN_TERMS = 5
_HALF = torch.float16
# Where a file may change a pipeline. The autoencoder is changed while pictures are encoded only.
_PLACES = (*PARTS, VAE, SEMANTIC)


@dataclass(frozen=True)
class AdapterWeights:
    """All changes of one file, by part of the pipeline and by the layer's name in it; a bias is
    named `LAYER.bias`.

    `name` is the file's in the catalogue, for people to read.
    """

    name: str
    parts: Mapping[str, Mapping[str, Change]]

    @property
    def main(self) -> "AdapterWeights":
        """The changes that act together while prompts are encoded and the UNet runs."""
        return self._only(PARTS)

    @property
    def semantic(self) -> "AdapterWeights | None":
        """The LoRA of the UNet's second evaluation, as changes of the UNet; None if there is none.
        It is weighed separately (shared/loras/one_step.py).
        """
        own = self.parts.get(SEMANTIC)
        return AdapterWeights(f"{self.name} (semantic)", {UNET: own}) if own else None

    @property
    def of_encoder(self) -> "AdapterWeights | None":
        """The changes of the autoencoder; None if there are none."""
        return self._only((VAE,)) if VAE in self.parts else None

    def _only(self, places: tuple[str, ...]) -> "AdapterWeights":
        kept = {part: changes for part, changes in self.parts.items() if part in places}
        return self if len(kept) == len(self.parts) else AdapterWeights(self.name, kept)

    @property
    def size_bytes(self) -> int:
        layers = (layers for layers in self.parts.values())
        return sum(change.size_bytes for part in layers for change in part.values())


def read_adapter(pipeline: Any, entry: LoraEntry) -> AdapterWeights:
    """Loads a checked file. Raises LoraChanged, or LoraCorrupt if a layer has no place in the
    base.
    """
    data = read_checked(entry)
    modules = modules_of_pipeline(pipeline)
    header = read_header(BytesIO(data), len(data))
    placement = place(read_layers(header.tensors), modules)
    if placement.unplaced:
        name = placement.unplaced[0].name
        raise LoraCorrupt.at(f"'{entry.name}' does not fit this base at {name}", entry.sha256, name)
    if not placement.layers:
        message = f"'{entry.name}' has no weights for this base"
        raise LoraCorrupt.at(message, entry.sha256, "no layer")
    scaling = read_scaling(header.metadata, entry.adapter_config)
    if not scaling.parts and layout_of(tensor.name for tensor in header.tensors) is not None:
        scaling = Scaling({"": {"lora_alpha": PUBLISHED_ALPHA}})
    reader = _Reader(load(data), scaling, modules)
    found: dict[str, dict[str, Change]] = {}
    for target, layers in placement.layers.items():
        found.setdefault(target.part, {}).update(reader.changes(entry, target, layers))
    return AdapterWeights(entry.name, {part: found[part] for part in _PLACES if part in found})


def modules_of_pipeline(pipeline: Any) -> Modules:
    """The modules of a loaded pipeline's parts."""
    networks = ((part, getattr(pipeline, part, None)) for part in (*PARTS, VAE))
    return Modules(
        {part: dict(_shapes(part, network)) for part, network in networks if network is not None}
    )


def _shapes(part: str, network: torch.nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, weight in network.named_parameters():
        if part != VAE or is_of_encoder(name):
            yield name, tuple(weight.shape)


class _Reader:
    """Turns the layers of one file into changes."""

    def __init__(self, tensors: Tensors, scaling: Scaling, modules: Modules) -> None:
        self._tensors = {name: _computable(tensor) for name, tensor in tensors.items()}
        self._scaling = scaling
        self._modules = modules

    def changes(self, entry: LoraEntry, target: Target, layers: list[Layer]) -> dict[str, Change]:
        """The changes of one module: of its weight, and of its bias as `MODULE.bias`."""
        try:
            found = [self._of_layer(target, layer) for layer in layers]
        except Exception as error:
            where = f"{target.part}.{target.module}"
            message = f"'{entry.name}' cannot be read at {where}"
            raise LoraCorrupt.at(message, entry.sha256, where) from error
        names = dict.fromkeys(name for changes in found for name, _ in changes)
        return {name: _one([c for of in found for n, c in of if n == name]) for name in names}

    def _of_layer(self, target: Target, layer: Layer) -> list[tuple[str, Change]]:
        parts = {part: self._tensors[tensor.name] for part, tensor in layer.parts.items()}
        weight, module = self._modules.weight_shape(*target), target.module
        found: list[Change] = [*self._low_rank(target, parts), *self._dense(target, parts)]
        if "w_norm" in parts:
            found.append(Dense({"diff": parts["w_norm"]}, 1.0, added))
        if found:
            found = [_decomposed(_one(found), parts, weight)]
        changes = [(module, change) for change in found]
        return changes + [(f"{module}.bias", x) for x in self._of_bias(target, parts)]

    def _low_rank(self, target: Target, parts: Tensors) -> list[Change]:
        if "down" not in parts:
            return []
        weight = self._modules.weight_shape(*target)
        down, up = parts["down"], parts["up"]
        scale = self._scale(target, parts, down.shape[0])
        if "mid" in parts:
            tensors = {"down": down, "up": up, "mid": parts["mid"]}
            return [Dense(tensors, scale, low_rank_with_core)]
        ones = (1,) * len(weight[2:])
        down, up = down.reshape(-1, *weight[1:]), up.reshape(weight[0], -1, *ones)
        return [LowRank(down, up, scale)]

    def _dense(self, target: Target, parts: Tensors) -> list[Change]:
        found: list[Change] = []
        for part, rule, ranked in _FORMS:
            if part in parts:
                rank = parts[ranked].shape[0] if ranked else 0
                scale = self._scale(target, parts, rank) if rank else 1.0
                found.append(Dense(_without_notes(parts), scale, rule))
        if "lokr_w1" in parts or "lokr_w1_a" in parts:
            found.append(
                Dense(_without_notes(parts), self._kronecker_scale(target, parts), kronecker)
            )
        if "oft_blocks" in parts:
            rule = rotated if parts["oft_blocks"].dim() == 3 else rotated_by_butterflies
            found.append(Dense(parts, 1.0, rule))
        if "oft_R" in parts:
            found.append(Dense(parts, 1.0, partial(rotated_inputs, terms=self._terms(target))))
        return found

    def _kronecker_scale(self, target: Target, parts: Tensors) -> float:
        """If both factors are full there is no rank, and LyCORIS ignores the alpha."""
        ranks = [parts[part].shape[0] for part in _KRONECKER if part in parts]
        if ranks:
            return self._scale(target, parts, ranks[0])
        config = self._scaling.config(target.part)
        rank = config.get("r") if "alpha" not in parts else None
        return self._scaling.scale(target.part, target.module, int(rank)) if rank else 1.0

    def _scale(self, target: Target, parts: Tensors, rank: int) -> float:
        """The layer's own alpha, or the configuration's value, divided by the rank."""
        scalar = _number(parts["scalar"]) if "scalar" in parts else 1.0
        if "alpha" in parts:
            return scalar * _number(parts["alpha"]) / rank
        return scalar * self._scaling.scale(target.part, target.module, rank)

    def _terms(self, target: Target) -> int:
        config = self._scaling.config(target.part)
        is_series = config.get("use_cayley_neumann", True)
        return int(config.get("num_cayley_neumann_terms", _NEUMANN_TERMS)) if is_series else 0

    def _of_bias(self, target: Target, parts: Tensors) -> list[Change]:
        found: list[Change] = [
            Dense({"diff": parts[part]}, 1.0, added)
            for part in ("diff_b", "b_norm")
            if part in parts
        ]
        if "set_bias" in parts:
            found.append(Dense({"set_weight": parts["set_bias"]}, 1.0, replaced))
        if "up_bias" in parts:
            scale = self._scale(target, parts, parts["down"].shape[0])
            found.append(Dense({"diff": parts["up_bias"]}, scale, added))
        return [_one(found)] if found else []


def _computable(tensor: torch.Tensor) -> torch.Tensor:
    """Eight-bit floats as half precision, which represents each of their values."""
    is_small = tensor.is_floating_point() and tensor.element_size() == 1
    return tensor.to(_HALF) if is_small else tensor


def _number(tensor: torch.Tensor) -> float:
    return float(tensor.flatten()[0])


def _without_notes(parts: Tensors) -> Tensors:
    return {part: tensor for part, tensor in parts.items() if part not in ("alpha", "scalar")}


def _decomposed(change: Change, parts: Tensors, weight: tuple[int, ...]) -> Change:
    if "magnitude" in parts:
        return Decomposed(change, parts["magnitude"], by_input=False)
    if "dora" in parts:
        return Decomposed(change, parts["dora"], by_input=_is_by_input(parts["dora"], weight))
    return change


def _is_by_input(magnitude: torch.Tensor, weight: tuple[int, ...]) -> bool:
    """Whether LyCORIS stored one number for each input, `[1, in]`, instead of each output."""
    if magnitude.numel() != weight[0]:
        return True
    return weight[0] == weight[1] and tuple(magnitude.shape[:2]) == (1, weight[1])


def _one(changes: list[Change]) -> Change:
    """Combines changes into one; several low-rank pairs form a pair of a higher rank."""
    if len(changes) == 1:
        return changes[0]
    pairs = [change for change in changes if isinstance(change, LowRank)]
    if len(pairs) < len(changes):
        return Together(tuple(changes))
    down = torch.cat([pair.down.float() for pair in pairs])
    up = torch.cat([pair.up.float() * pair.scale for pair in pairs], dim=1)
    return LowRank(down, up, 1.0)
