"""Clues from tensor shapes: each one narrows the families to which a LoRA can belong.

Widths and block counts are facts of the published configurations (`unet/config.json`,
`transformer/config.json` and `text_encoder*/config.json` of each family). Knows nothing of metadata
and file names.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.bases import BASES, FLUX, SD3, SD15, SD21, SDXL, TINY, Base
from shared.loras.dialects import TEXT_ENCODER, TEXT_ENCODER_2, UNET, place_of
from shared.loras.layers import Layer, Layers

Candidates = frozenset[str]


def _only(*bases: Base) -> Candidates:
    return frozenset(base.id for base in bases)


_NOBODY = _only()
_CROSS_ATTENTION = {
    base.cross_attention_width: _only(base) for base in BASES.values() if base.cross_attention_width
}
# Channels of the UNet's levels; SDXL has no attention at its first level.
_SELF_ATTENTION = {
    320: _only(SD15, SD21),
    640: _only(SD15, SD21, SDXL),
    1280: _only(SD15, SD21, SDXL),
}
# Hidden widths of the text encoders: CLIP-L 768, OpenCLIP-H 1024, OpenCLIP-bigG 1280.
_FIRST_ENCODER = {64: _only(TINY), 768: _only(SD15, SDXL, SD3, FLUX), 1024: _only(SD21)}
_SECOND_ENCODER = {1280: _only(SDXL, SD3)}
# Inner widths: SD 3 medium 1536, SD 3.5 large 2432, FLUX.1 3072.
_TRANSFORMER = {1536: _only(SD3), 2432: _only(SD3), 3072: _only(FLUX)}
# FLUX.1 has 19 double and 38 single blocks; newer models of its width have other numbers.
_LAST_FLUX_BLOCK = {"double": 18, "single": 37}

_TRANSFORMER_BLOCK = re.compile(
    r"^(?:transformer_)?(?P<kind>double|joint|single|single_transformer|transformer)"
    r"_blocks_(?P<index>\d+)_"
)
_READS_CONTEXT = re.compile(r"attn2_to_[kv]$")
_READS_CHANNELS = re.compile(r"attn[12]_to_q$")
_READS_HIDDEN = re.compile(r"(?:to_[qkv]|[qkv]_proj|fc1|qkv(?:_lora[12])?|linear1|proj_mlp)$")
_ONE_ENCODER, _NUMBERED = re.compile(r"lora_te[._]"), re.compile(r"lora_te1[._]")
# The smallest FLUX.2 has FLUX.1's width; its blocks differ in number, names and sizes.
_FLUX2_BLOCKS = {(8, 48), (8, 24), (5, 20)}
_FLUX2_NAMES = re.compile(r"to_qkv_mlp_proj|ff_linear_(?:in|out)|stream_modulation")
_FLUX1_FUSED_WIDTH = 21504


class Clue(NamedTuple):
    """One observation, and the families that it allows. A weak clue, which some programs are known
    to get wrong, decides only if the others are ambiguous.
    """

    text: str
    candidates: Candidates
    is_weak: bool = False


def clues_from_shapes(found: Layers) -> list[Clue]:
    """Every clue from the layers; empty if no module of a known model is adapted."""
    parts: dict[tuple[str, ...], dict[str, Layer]] = defaultdict(dict)
    for spelled, layer in found.by_module.items():
        if not layer.is_empty:
            place = place_of(spelled)
            parts[place.parts][place.path] = layer
    unnamed = parts[TEXT_ENCODER, TEXT_ENCODER_2]
    denoiser = [
        *_unet_clues(parts[UNET,]),
        *_transformer_clues(_pick(parts[()], _TRANSFORMER_BLOCK)),
    ]
    words = [
        *_width_clues("the text encoder reads", parts[TEXT_ENCODER,], _FIRST_ENCODER),
        *_width_clues("text encoder 2 reads", parts[TEXT_ENCODER_2,], _SECOND_ENCODER),
        *_width_clues("a text encoder reads", unnamed, _FIRST_ENCODER | _SECOND_ENCODER),
    ]
    return [*denoiser, *(_weak(words) if denoiser else words), *_numbering_clues(found)]


def _weak(clues: Iterable[Clue]) -> list[Clue]:
    return [clue._replace(is_weak=True) for clue in clues]


def _pick(modules: dict[str, Layer], pattern: re.Pattern[str]) -> dict[str, Layer]:
    return {name: layer for name, layer in modules.items() if pattern.search(name)}


def _width_clues(
    what: str,
    modules: dict[str, Layer],
    table: dict[int, Candidates],
    readers: re.Pattern[str] = _READS_HIDDEN,
) -> Iterator[Clue]:
    """A clue for each input width of the modules; a width that no family has excludes all of
    them.
    """
    widths = Counter(layer.in_features for layer in _pick(modules, readers).values())
    for width, count in widths.items():
        if width is not None:
            yield Clue(f"{what} {width} features ({count} layers)", table.get(width, _NOBODY))


def _unet_clues(modules: dict[str, Layer]) -> Iterator[Clue]:
    if not modules:
        return
    yield Clue("it adapts a UNet", _only(TINY, SD15, SD21, SDXL))
    yield from _width_clues("cross-attention reads", modules, _CROSS_ATTENTION, _READS_CONTEXT)
    for clue in _weak(_width_clues("attention reads", modules, _SELF_ATTENTION, _READS_CHANNELS)):
        if clue.candidates:  # other channel counts prove nothing: the embedded base has its own
            yield clue
    if any(re.search(r"transformer_blocks_[1-9]", name) for name in modules):
        yield Clue("its attention blocks are several layers deep", _only(SDXL), is_weak=True)
    yield from _projection_clues(modules)


def _projection_clues(modules: dict[str, Layer]) -> Iterator[Clue]:
    """The 320-wide input projection is a convolution in SD 1.5 and a linear layer in SD 2.1."""
    layers = [layer for name, layer in modules.items() if name.endswith("_proj_in")]
    shapes = [x.parts["down"].shape for x in layers if "down" in x.parts and x.in_features == 320]
    if shapes and all(len(shape) == 4 for shape in shapes):
        yield Clue("its 320-wide proj_in is a convolution", _only(SD15), is_weak=True)
    elif shapes:
        yield Clue("its 320-wide proj_in is a linear layer", _only(SD21), is_weak=True)


def _numbering_clues(found: Layers) -> Iterator[Clue]:
    if any(map(_NUMBERED.match, found.by_module)):
        yield Clue("it numbers its text encoders", _only(SDXL, SD3, FLUX), is_weak=True)
    elif any(map(_ONE_ENCODER.match, found.by_module)):
        yield Clue("it knows of one text encoder", _only(TINY, SD15, SD21), is_weak=True)


def _transformer_clues(modules: dict[str, Layer]) -> Iterator[Clue]:
    if not modules:
        return
    yield Clue("it adapts a diffusion transformer", _only(SD3, FLUX))
    yield from _width_clues("the transformer reads", modules, _TRANSFORMER)
    matches = filter(None, map(_TRANSFORMER_BLOCK.match, modules))
    yield from _block_clues([(match["kind"], int(match["index"])) for match in matches])
    if any(re.search(r"_img_mlp_net_|_img_mod_\d", name) for name in modules):
        yield Clue("its blocks have an img_mlp.net, as Qwen-Image", _NOBODY)
    if any(map(_FLUX2_NAMES.search, modules)) or _has_other_fused_layers(modules):
        yield Clue("its blocks are built as FLUX.2's", _NOBODY)


def _has_other_fused_layers(modules: dict[str, Layer]) -> bool:
    fused = [x for name, x in modules.items() if re.search(r"single_blocks_\d+_linear1$", name)]
    widths = {layer.dimension("up", 0) for layer in fused} - {None}
    return bool(widths) and _FLUX1_FUSED_WIDTH not in widths


def _block_clues(places: list[tuple[str, int]]) -> Iterator[Clue]:
    kinds = {kind for kind, _ in places}
    if "joint" in kinds:
        yield Clue("it has joint blocks", _only(SD3))
    if kinds & {"double", "single", "single_transformer"}:
        yield Clue("it has double or single blocks", _only(FLUX))
        single = max((i for kind, i in places if kind.startswith("single")), default=0)
        double = max((i for kind, i in places if not kind.startswith("single")), default=0)
        too_many = single > _LAST_FLUX_BLOCK["single"] or double > _LAST_FLUX_BLOCK["double"]
        if too_many or (double + 1, single + 1) in _FLUX2_BLOCKS:
            yield Clue(f"it has {double + 1} double and {single + 1} single blocks", _NOBODY)
    elif (last := max((i for _, i in places), default=0)) > _LAST_FLUX_BLOCK["double"]:
        yield Clue(f"it has {last + 1} blocks of one kind", _only(SD3))
