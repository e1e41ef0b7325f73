"""Decides which kind of LoRA a file is, and whether its layers are sound and can be applied.

A UNet's engine supports every kind (worker/engine/lora/changes.py). Transformers are loaded by
diffusers' own loader, which supports plain low-rank pairs: it ignores `dora_scale` with a warning
and fails on LyCORIS' other kinds, so those are named and refused for transformers. Knows nothing of
base models.
"""

import re
from collections.abc import Iterator

from shared.checkpoints.other_models import OtherModel, name_other
from shared.loras.dialects import UNET, place_of
from shared.loras.entry import LoraKind
from shared.loras.header import Tensor
from shared.loras.layers import QUALIFIERS, Layers
from shared.loras.reasons import Finding, Reason, clean

MAX_RANK = 512
# Networks in checkpoints of one file.
_NETWORKS = (
    *("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner."),
    *("double_blocks.", "joint_blocks."),
)
_UNET = "model.diffusion_model.input_blocks."
# Widths of the text encoders of SD 1.x and SDXL, SD 2.x and SDXL's second.
_EMBEDDINGS = {(768,), (1024,), (1280,)}
_FLOATS = frozenset({"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"})
_INTEGERS = frozenset({"I8", "I16", "I32", "I64", "U8"})
# The keys that diffusers' loader for transformers supports.
_PLAIN_PARTS = frozenset({"down", "up", "alpha"})
_PLAIN_DTYPES = frozenset({"F16", "BF16", "F32"})
_NAMES = {
    LoraKind.LOHA: "LoHa",
    LoraKind.LOKR: "LoKr",
    LoraKind.DORA: "DoRA",
    LoraKind.GLORA: "GLoRA",
    LoraKind.OFT: "OFT",
    LoraKind.LOCON: "LoCon with decomposed (CP) convolutions",
}
# The option of kohya's scripts and LyCORIS for convolutions.
_CONVOLUTIONS = re.compile(r'"conv_dim": ?"?[1-9]')
# The UNet's layers outside its blocks, which only whole-UNet training changes.
_OUTSIDE_BLOCKS = ("conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2")
_FAMILIES = (("attn",), ("ff_net",), ("conv1", "in_layers"), ("time_emb_proj", "emb_layers"))


def name_kind(found: Layers, metadata: dict[str, str]) -> LoraKind:
    """The kind of a file, by the parts of its layers and the modules that they adapt.

    A LoCon may adapt the same modules as LCM-LoRA does; but LCM-LoRA has one rank throughout, and
    no trainer's option for convolutions.
    """
    parts = found.parts
    if parts & {"dora", "magnitude"}:
        return LoraKind.DORA
    if any(part.startswith("hada") for part in parts):
        return LoraKind.LOHA
    if any(part.startswith("lokr") for part in parts):
        return LoraKind.LOKR
    if "b1" in parts:
        return LoraKind.GLORA
    if parts & {"oft_blocks", "oft_R"}:
        return LoraKind.OFT
    if "down" not in parts:
        return LoraKind.FULL if parts - QUALIFIERS else LoraKind.UNKNOWN
    has_setting = _CONVOLUTIONS.search(metadata.get("ss_network_args", "")) is not None
    is_locon = has_setting or _has_several_ranks(found)
    return _name_low_rank(found, is_locon)


def _name_low_rank(found: Layers, is_locon: bool) -> LoraKind:
    if not is_locon and _covers_whole_unet(found):
        return LoraKind.FULL
    has_kernel = any(layer.kernel > 1 for layer in found.by_module.values())
    return LoraKind.LOCON if has_kernel or "mid" in found.parts else LoraKind.LORA


def _has_several_ranks(found: Layers) -> bool:
    return len(found.ranks) > 1


def _covers_whole_unet(found: Layers) -> bool:
    """Whether every kind of UNet layer is adapted and no text encoder, as in LCM-LoRA."""
    places = [place_of(module) for module in found.by_module]
    names = {place.path for place in places}
    if any(place.parts and UNET not in place.parts for place in places):
        return False
    if any(name.endswith(_OUTSIDE_BLOCKS) and "block" not in name for name in names):
        return True
    return all(any(word in name for name in names for word in family) for family in _FAMILIES)


def judge_layers(found: Layers, kind: LoraKind, tensors: list[Tensor]) -> list[Finding]:
    """Problems of the layers; empty if there are none."""
    return [
        *_judge_pairs(found),
        *_judge_rank(found),
        *_judge_foreign(found, kind),
        *_judge_dtypes(found, tensors),
    ]


def judge_plainness(found: Layers, kind: LoraKind, tensors: list[Tensor]) -> list[Finding]:
    """Problems that prevent loading by diffusers' loader for transformers."""
    others = sorted({tensor.dtype for tensor in tensors} - _PLAIN_DTYPES)
    if not found.parts <= _PLAIN_PARTS:
        return [Finding(Reason.UNCARRIED_KIND, {"kind": _name(found, kind)})]
    return [Finding(Reason.UNCARRIED_DTYPE, {"dtype": others[0]})] if others else []


def _name(found: Layers, kind: LoraKind) -> str:
    if found.parts <= {"w_norm", "b_norm", "diff_b", "down", "up", "alpha"}:
        return "LoRA with changes of norms or biases"
    return _NAMES.get(kind, "full weight difference")


def _judge_pairs(found: Layers) -> Iterator[Finding]:
    layers = found.by_module.items()
    broken = next((name for name, layer in layers if layer.extents() is None), None)
    if broken is not None:
        yield Finding(Reason.FACTORS_DISAGREE, {"name": clean(broken)})


def _judge_rank(found: Layers) -> Iterator[Finding]:
    if (found.rank or 0) > MAX_RANK:
        yield Finding(Reason.RANK_TOO_HIGH, {"rank": found.rank or 0, "limit": MAX_RANK})


def _judge_foreign(found: Layers, kind: LoraKind) -> Iterator[Finding]:
    if kind is LoraKind.UNKNOWN and _is_embedding(found):
        yield Finding(Reason.EMBEDDING, {})
    elif (other := _other_model(found)) is not None:
        yield Finding(Reason.OTHER_MODEL, {"what": other.what})
    elif _is_checkpoint(found):
        yield Finding(Reason.BASE_CHECKPOINT, {})
    elif found.foreign or kind is LoraKind.UNKNOWN:
        names = (*(tensor.name for tensor in found.foreign), *found.by_module, *found.beside)
        yield Finding(Reason.FOREIGN_TENSORS, {"name": clean(names[0])})


def _is_checkpoint(found: Layers) -> bool:
    """Whether a file holds a base's own networks."""
    return not found.by_module and any(t.name.startswith(_NETWORKS) for t in found.foreign)


def _other_model(found: Layers) -> OtherModel | None:
    """The known model without LoRA layers that the file is, if it is no base of Stable
    Diffusion.
    """
    names = [*(tensor.name for tensor in found.foreign), *found.beside]
    if found.by_module or not found.foreign:
        return None
    return name_other(names, is_whole=any(name.startswith(_UNET) for name in names))


def _is_embedding(found: Layers) -> bool:
    """Whether a file holds only vectors of a text encoder's width, one for each token."""
    shapes = {tensor.shape[1:] for tensor in found.foreign}
    return not found.by_module and shapes <= _EMBEDDINGS and bool(found.beside or shapes)


def _judge_dtypes(found: Layers, tensors: list[Tensor]) -> Iterator[Finding]:
    """Weights are floats; an alpha may have any number type."""
    alphas = {t.name for x in found.by_module.values() for p, t in x.parts.items() if p == "alpha"}
    notes = set(found.beside)
    weights = {tensor.dtype for tensor in tensors if tensor.name not in alphas | notes}
    numbers = {tensor.dtype for tensor in tensors if tensor.name in alphas}
    others = sorted(weights - _FLOATS) or sorted(numbers - _FLOATS - _INTEGERS)
    if others:
        yield Finding(Reason.UNCARRIED_DTYPE, {"dtype": others[0]})
