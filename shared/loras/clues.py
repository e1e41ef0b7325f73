"""What tensor shapes say of a LoRA's base: each clue narrows the families it can belong to.

Widths and block counts are facts of the published configurations (`unet/config.json`,
`transformer/config.json` and `text_encoder*/config.json` of each family). Knows nothing of
metadata and file names.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from shared.bases import BASES, FLUX, SD3, SD15, SD21, SDXL, TINY, Base
from shared.loras.layers import Layer, Layers

Candidates = frozenset[str]


def _only(*bases: Base) -> Candidates:
    return frozenset(base.id for base in bases)


_NOBODY = _only()
_CROSS_ATTENTION = {
    base.cross_attention_width: _only(base) for base in BASES.values() if base.cross_attention_width
}
# Channels of the UNet's levels; SDXL has no attention at its first.
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
# FLUX.1 has 19 double and 38 single blocks; younger models of its width have others.
_LAST_FLUX_BLOCK = {"double": 18, "single": 37}

_PREFIX = re.compile(r"^(?:base_model_model_|lora_|lycoris_|diffusion_model_)+")
_COMPONENTS = {
    "transformer": re.compile(
        r"^(?:unet_|transformer_)?(?P<kind>double|joint|single|single_transformer|transformer)"
        r"_blocks_(?P<index>\d+)_"
    ),
    "unet": re.compile(
        r"^(?:unet_)?(?:down_blocks|mid_block|up_blocks|input_blocks|middle_block|output_blocks)_"
    ),
    "second encoder": re.compile(r"^(?:te2|text_encoder_2)_"),
    "first encoder": re.compile(r"^(?:te1?|text_encoder|text_model)_(?!\d_)"),
}
_READS_CONTEXT = re.compile(r"attn2_(?:processor_)?to_[kv]$")
_READS_CHANNELS = re.compile(r"attn[12]_(?:processor_)?to_q$")
_READS_HIDDEN = re.compile(r"(?:to_[qkv]|[qkv]_proj|fc1|qkv(?:_lora[12])?|linear1|proj_mlp)$")


class Clue(NamedTuple):
    """One observation in words, and the families that it leaves."""

    text: str
    candidates: Candidates


def clues_from_shapes(found: Layers) -> list[Clue]:
    """Every clue that the layers give; empty where no module of a known model is adapted."""
    modules = {_PREFIX.sub("", name.replace(".", "_")): x for name, x in found.by_module.items()}
    parts = {component: _pick(modules, pattern) for component, pattern in _COMPONENTS.items()}
    return [
        *_unet_clues(parts["unet"]),
        *_transformer_clues(parts["transformer"]),
        *_width_clues("the text encoder reads", parts["first encoder"], _FIRST_ENCODER),
        *_width_clues("text encoder 2 reads", parts["second encoder"], _SECOND_ENCODER),
        *_numbering_clues(parts["first encoder"]),
    ]


def _pick(modules: dict[str, Layer], pattern: re.Pattern[str]) -> dict[str, Layer]:
    return {name: layer for name, layer in modules.items() if pattern.search(name)}


def _width_clues(
    what: str,
    modules: dict[str, Layer],
    table: dict[int, Candidates],
    readers: re.Pattern[str] = _READS_HIDDEN,
) -> Iterator[Clue]:
    """A clue for each width among the modules that read; a width of no family leaves nobody."""
    widths = Counter(layer.in_features for layer in _pick(modules, readers).values())
    for width, count in widths.items():
        if width is not None:
            yield Clue(f"{what} {width} features ({count} layers)", table.get(width, _NOBODY))


def _unet_clues(modules: dict[str, Layer]) -> Iterator[Clue]:
    if not modules:
        return
    yield Clue("it adapts a UNet", _only(TINY, SD15, SD21, SDXL))
    yield from _width_clues("cross-attention reads", modules, _CROSS_ATTENTION, _READS_CONTEXT)
    for clue in _width_clues("attention reads", modules, _SELF_ATTENTION, _READS_CHANNELS):
        if clue.candidates:  # other channel counts prove nothing: the embedded base chooses its own
            yield clue
    if any(re.search(r"transformer_blocks_[1-9]", name) for name in modules):
        yield Clue("its attention blocks are several layers deep", _only(SDXL))
    yield from _projection_clues(modules)


def _projection_clues(modules: dict[str, Layer]) -> Iterator[Clue]:
    """The 320-wide input projection is a convolution in SD 1.5 and a linear layer in SD 2.1."""
    layers = [layer for name, layer in modules.items() if name.endswith("_proj_in")]
    shapes = [x.parts["down"].shape for x in layers if "down" in x.parts and x.in_features == 320]
    if shapes and all(len(shape) == 4 for shape in shapes):
        yield Clue("its 320-wide proj_in is a convolution", _only(SD15))
    elif shapes:
        yield Clue("its 320-wide proj_in is a linear layer", _only(SD21))


def _numbering_clues(modules: dict[str, Layer]) -> Iterator[Clue]:
    if any(name.startswith("te1_") for name in modules):
        yield Clue("it numbers its text encoders", _only(SDXL, SD3, FLUX))
    if any(name.startswith("te_") for name in modules):
        yield Clue("it knows of one text encoder", _only(TINY, SD15, SD21))


def _transformer_clues(modules: dict[str, Layer]) -> Iterator[Clue]:
    if not modules:
        return
    yield Clue("it adapts a diffusion transformer", _only(SD3, FLUX))
    yield from _width_clues("the transformer reads", modules, _TRANSFORMER)
    pattern = _COMPONENTS["transformer"]
    places = [(m["kind"], int(m["index"])) for name in modules if (m := pattern.match(name))]
    yield from _block_clues(places)
    if any(re.search(r"_img_mlp_net_|_img_mod_\d", name) for name in modules):
        yield Clue("its blocks have an img_mlp.net, as Qwen-Image", _NOBODY)


def _block_clues(places: list[tuple[str, int]]) -> Iterator[Clue]:
    kinds = {kind for kind, _ in places}
    if "joint" in kinds:
        yield Clue("it has joint blocks", _only(SD3))
    if kinds & {"double", "single", "single_transformer"}:
        yield Clue("it has double or single blocks", _only(FLUX))
        single = max((i for kind, i in places if kind.startswith("single")), default=0)
        double = max((i for kind, i in places if not kind.startswith("single")), default=0)
        if single > _LAST_FLUX_BLOCK["single"] or double > _LAST_FLUX_BLOCK["double"]:
            yield Clue(f"it has {double + 1} double and {single + 1} single blocks", _NOBODY)
