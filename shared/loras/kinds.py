"""Which kind of LoRA a file is, and whether its layers are sound and can be carried.

The pipeline carries plain low-rank pairs, on linear layers and on convolutions. diffusers drops
`dora_scale` with a warning and fails on LyCORIS' other forms, so those are named and refused
here. Knows nothing of base models.
"""

import re
from collections.abc import Iterator

from shared.loras.entry import LoraKind
from shared.loras.header import Tensor
from shared.loras.layers import Layer, Layers
from shared.loras.reasons import Finding, Reason, clean

MAX_RANK = 512
_CARRIED_DTYPES = frozenset({"F16", "BF16", "F32"})
_CARRIED_PARTS = frozenset({"down", "up", "alpha"})
_NAMES = {
    LoraKind.LOHA: "LoHa",
    LoraKind.LOKR: "LoKr",
    LoraKind.DORA: "DoRA",
    LoraKind.LOCON: "LoCon with decomposed (CP) convolutions",
}
# The setting that kohya's scripts and LyCORIS have for convolutions.
_CONVOLUTIONS = re.compile(r'"conv_dim": ?"?[1-9]')
# The UNet's own layers outside its blocks, which only whole-UNet training touches.
_OUTSIDE_BLOCKS = ("conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2")
_FAMILIES = (("attn",), ("ff_net",), ("conv1", "in_layers"), ("time_emb_proj", "emb_layers"))


def name_kind(found: Layers, metadata: dict[str, str]) -> LoraKind:
    """The kind of a file, by the parts of its layers and the modules that they adapt.

    A LoCon may adapt the same modules as LCM-LoRA does; but LCM-LoRA has one rank throughout, and
    no trainer's setting for convolutions.
    """
    parts = found.parts
    if "dora" in parts:
        return LoraKind.DORA
    if any(part.startswith("hada") for part in parts):
        return LoraKind.LOHA
    if any(part.startswith("lokr") for part in parts):
        return LoraKind.LOKR
    if parts & {"diff", "bias"}:
        return LoraKind.FULL
    if "down" not in parts:
        return LoraKind.UNKNOWN
    has_setting = _CONVOLUTIONS.search(metadata.get("ss_network_args", "")) is not None
    is_locon = has_setting or _has_several_ranks(found)
    return _name_low_rank(found, is_locon)


def _name_low_rank(found: Layers, is_locon: bool) -> LoraKind:
    if not is_locon and _covers_whole_unet(found):
        return LoraKind.FULL
    has_kernel = any(layer.kernel > 1 for layer in found.by_module.values())
    return LoraKind.LOCON if has_kernel or "mid" in found.parts else LoraKind.LORA


def _has_several_ranks(found: Layers) -> bool:
    return len({layer.rank for layer in found.by_module.values()}) > 1


def _covers_whole_unet(found: Layers) -> bool:
    """Whether every kind of a UNet's layers is adapted and no text encoder, as in LCM-LoRA."""
    names = {module.replace(".", "_") for module in found.by_module}
    if any(name.startswith(("lora_te", "text_encoder")) for name in names):
        return False
    if any(name.endswith(_OUTSIDE_BLOCKS) and "block" not in name for name in names):
        return True
    return all(any(word in name for name in names for word in family) for family in _FAMILIES)


def judge_layers(found: Layers, kind: LoraKind, tensors: list[Tensor]) -> list[Finding]:
    """What is wrong with the layers, or with carrying them; empty when nothing is."""
    return [
        *_judge_pairs(found),
        *_judge_rank(found),
        *_judge_kind(found, kind),
        *_judge_dtypes(tensors),
    ]


def _judge_pairs(found: Layers) -> Iterator[Finding]:
    broken = [name for name, layer in found.by_module.items() if not _is_whole(layer)]
    if broken:
        yield Finding(Reason.FACTORS_DISAGREE, {"name": clean(broken[0])})


def _is_whole(layer: Layer) -> bool:
    """Whether `down` and `up` come together, with the same rank."""
    if not layer.parts.keys() & {"down", "up"}:
        return True
    rank = layer.dimension("up", 1)
    return layer.in_features is not None and rank is not None and rank == layer.rank


def _judge_rank(found: Layers) -> Iterator[Finding]:
    if (found.rank or 0) > MAX_RANK:
        yield Finding(Reason.RANK_TOO_HIGH, {"rank": found.rank or 0, "limit": MAX_RANK})


def _judge_kind(found: Layers, kind: LoraKind) -> Iterator[Finding]:
    if kind is LoraKind.UNKNOWN:
        name = next(iter((*found.foreign, *found.by_module)))
        yield Finding(Reason.FOREIGN_TENSORS, {"name": clean(name)})
    elif not found.parts <= _CARRIED_PARTS:
        yield Finding(Reason.UNCARRIED_KIND, {"kind": _NAMES.get(kind, "full weight difference")})
    elif found.foreign:
        yield Finding(Reason.FOREIGN_TENSORS, {"name": clean(found.foreign[0])})
    elif found.scheme == "unknown":
        yield Finding(Reason.UNKNOWN_NAMING, {"name": clean(next(iter(found.by_module)))})


def _judge_dtypes(tensors: list[Tensor]) -> Iterator[Finding]:
    others = sorted({tensor.dtype for tensor in tensors} - _CARRIED_DTYPES)
    if others:
        yield Finding(Reason.UNCARRIED_DTYPE, {"dtype": others[0]})
