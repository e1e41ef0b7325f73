"""How trainers and programs spell a tensor's name: the module that it adapts, and its role.

A name is a module and an ending: `lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`. The
ending gives the role. The module begins with a prefix for its part of the pipeline, in one of a
dozen spellings, followed by the module's path, dotted or flattened to underscores, with the names
of diffusers or of the original code. Both are reduced here to a part and a flat path, which
shared/loras/modules.py looks up. Knows nothing of base models and shapes.
"""

import re
from functools import lru_cache
from typing import NamedTuple

UNET, TEXT_ENCODER, TEXT_ENCODER_2 = "unet", "text_encoder", "text_encoder_2"
PARTS = (UNET, TEXT_ENCODER, TEXT_ENCODER_2)
VAE = "vae"
# The UNet in the second of two evaluations, for a file with a LoRA of its own for each.
SEMANTIC = "unet.semantic"

# Markers after which the role begins in older spellings of diffusers and XLabs.
_OLD = r"(?:(?<=[._]lora)|(?<=\.lora_layer)|(?<=\.lora_linear_layer)|(?<=_lora[12]))"
_ADAPTER = r"(?:\.[\w-]+)?"
_ENDING = re.compile(
    rf"(?P<down>\.lora_A{_ADAPTER}\.weight|\.lora_A|\.lora_down(?:{_ADAPTER}\.weight)?"
    rf"|{_OLD}\.down\.weight)"
    rf"|(?P<up>\.lora_B{_ADAPTER}\.weight|\.lora_B|\.lora_up(?:{_ADAPTER}\.weight)?"
    rf"|{_OLD}\.up\.weight)"
    rf"|(?P<up_bias>\.lora_B{_ADAPTER}\.bias)"
    r"|(?P<alpha>\.(?:lora_|network_)?alpha)"
    r"|(?P<mid>\.lora_mid\.weight)"
    r"|(?P<dora>\.dora_scale)"
    r"|(?P<magnitude>\.lora_magnitude_vector(?:\.[\w-]+)*)"
    r"|\.(?P<lycoris>hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|oft_blocks|rescale"
    rf"|scalar){_ADAPTER}"
    r"|\.(?P<plain>diff|diff_b|w_norm|b_norm|set_weight)"
    r"|\.base_layer\.(?:(?P<set_weight>weight)|(?P<set_bias>bias))"
    rf"|\.(?P<glora>a1|a2|b1|b2|bm)\.weight"
    rf"|(?P<oft_R>\.oft_R{_ADAPTER}\.weight|\.oft_R)"
)
_OLD_END = re.compile(r"(?:[._]lora|\.lora_layer|\.lora_linear_layer)$")
_OLD_ENDS = ("lora", "lora_layer", "lora_linear_layer")
# The longest ending has three dots: `.lora_A.default.weight`.
_MAX_DOTS = 3

# Prefixes of wrappers, which do not tell the part.
_WRAPPERS = re.compile(
    r"^(?:base_model_model_|lora_(?!linear)|lycoris_|_orig_mod_|module_|network_"
    r"|model_(?!diffusion_model_))+"
)
_PREFIXES = (
    (SEMANTIC, r"semantic_(?:state_dict_unet_|unet_)?"),
    (VAE, r"(?:state_dict_)?vae_|first_stage_model_"),
    (
        TEXT_ENCODER_2,
        r"te2_|text_encoder_2_|(?:text_encoders_)?clip_g_(?:transformer_)?"
        r"|conditioner_embedders_1_(?:model_|transformer_)?",
    ),
    (
        TEXT_ENCODER,
        r"te1?_|text_encoder_(?:1_)?|(?:text_encoders_)?clip_[lh]_(?:transformer_)?"
        r"|cond_stage_model_(?:transformer_|model_)?|conditioner_embedders_0_(?:transformer_)?",
    ),
    (UNET, r"(?:state_dict_)?unet_|(?:model_)?diffusion_model_"),
)
_PART = re.compile("|".join(f"({prefix})" for _, prefix in _PREFIXES))
# The adapters of PiSA-SR's semantic LoRA (arXiv:2412.03017): `default_encoder_sem` and so on.
_SEMANTIC_ADAPTER = re.compile(r"\.lora_[AB]\.\w+_sem\.weight")
# Diffusion transformers of all kinds are also written with the UNet's prefix; their modules are not
# these.
_UNET_ROOT = re.compile(
    r"(?:down_blocks|up_blocks|input_blocks|output_blocks)_\d|mid_block_|middle_block_\d"
    r"|time_embed|label_emb_|add_embedding_|conv_in$|conv_out$|conv_norm_out$|out_[02]$"
)
_VAE_ROOT = re.compile(r"encoder_(?:conv_in|conv_out|down_blocks_\d|mid_block_)|quant_conv$")
_TEXT_ROOT = re.compile(r"text_model_|encoder_layers_\d|transformer_resblocks_\d|text_projection")
_ROOTS = {UNET: _UNET_ROOT, SEMANTIC: _UNET_ROOT, VAE: _VAE_ROOT}
_SCHEMES = (
    (re.compile(r"base_model\.model\.|(?:semantic\.)?state_dict_(?:unet|vae)\."), "peft"),
    (
        re.compile(r"semantic\.|vae\.|encoder\.(?:conv_|down_blocks|mid_block)|quant_conv$"),
        "diffusers",
    ),
    (re.compile(r"lora_(?:unet|te\d?)\."), "onetrainer"),
    (re.compile(r"lora_unet_|lora_te|lora_transformer_"), "kohya"),
    (re.compile(r"lycoris_"), "lycoris"),
    (re.compile(r"(?:double|single)_blocks\.\d+\.processor\."), "xlabs"),
    (re.compile(r"unet\.(?:input_blocks|middle_block|output_blocks)\.|clip_[lg]\."), "omi"),
    (re.compile(r"(?:model\.)?diffusion_model\.|text_encoders\."), "comfy"),
    (re.compile(r"(?:input|output)_blocks\.|middle_block\."), "comfy"),
    (re.compile(r"(?:double|single|joint)_blocks\.\d+\."), "comfy"),
    (
        re.compile(
            r"unet\.|text_encoder|transformer\.|(?:down|up)_blocks\.|mid_block\.|text_model\."
            r"|time_embedding\.|add_embedding\.|conv_in$|conv_out$"
        ),
        "diffusers",
    ),
)
# Tensors that bundles and trainers add to a LoRA's weights, and that change no weight of a layer.
_BESIDE = re.compile(
    r"^(?:bundle_emb|emb_params|string_to_param|text_encoders?_emb|embeddings?)\b"
    r"|\.(?:clip_[lgh]|emb_params|token_embedding_delta|lora_embedding_[AB](?:\.\w+)*)$"
    r"|^(?:clip_[lgh]|t5|lora_te\d?\.embedding)$"
)


class Ending(NamedTuple):
    """A tensor's name in parts: the module as it is spelled, and the tensor's role."""

    module: str
    role: str


class Place(NamedTuple):
    """A module's flat path, and the parts of the pipeline to which it may belong; none for a
    foreign one.
    """

    parts: tuple[str, ...]
    path: str


def read_ending(name: str) -> Ending | None:
    """The module and role of a tensor; None for a name that does not end like a LoRA's."""
    dot = len(name)
    for _ in range(_MAX_DOTS):
        dot = name.rfind(".", 0, dot)
        match = _ENDING.fullmatch(name, dot) if dot > 0 else None
        if match is not None:
            module = _module(name[:dot])
            is_semantic = _SEMANTIC_ADAPTER.fullmatch(match[0]) is not None
            return Ending(f"semantic.{module}" if is_semantic else module, _role(match))
    return None


def _role(match: re.Match[str]) -> str:
    return match["lycoris"] or match["plain"] or match["glora"] or str(match.lastgroup)


def _module(text: str) -> str:
    return _OLD_END.sub("", text) if text.endswith(_OLD_ENDS) else text


# A file is gone over several times, and may have this many tensors (header.py).
@lru_cache(maxsize=20_480)
def place_of(module: str) -> Place:
    """The part and the flat path for a module's spelling."""
    path = _WRAPPERS.sub("", module.replace(".", "_"))
    match = _PART.match(path)
    if match is None:
        return _without_prefix(path)
    part, rest = _part(match), _WRAPPERS.sub("", path[match.end() :])
    # Some spellings name the part twice: `lora_unet_` before ComfyUI's `diffusion_model.`.
    again = _PART.match(rest)
    if again is not None and _part(again) == part:
        rest = _WRAPPERS.sub("", rest[again.end() :])
    root = _ROOTS.get(part)
    if root is not None and not root.match(_tidy(rest)):
        return Place((), rest)
    return Place((part,), _tidy(rest))


def _part(match: re.Match[str]) -> str:
    return _PREFIXES[(match.lastindex or 1) - 1][0]


def _without_prefix(path: str) -> Place:
    """PEFT's own files do not say for which of a pipeline's models they are; the path decides."""
    if _UNET_ROOT.match(path):
        return Place((UNET,), _tidy(path))
    if _VAE_ROOT.match(path):
        return Place((VAE,), _tidy(path))
    if _TEXT_ROOT.match(path):
        return Place((TEXT_ENCODER, TEXT_ENCODER_2), _tidy(path))
    return Place((), path)


def _tidy(path: str) -> str:
    """The path without segments that only some versions of the libraries have, or compilation."""
    path = path.replace("__orig_mod_", "_").replace("_processor_", "_")
    return path.removeprefix("text_model_").removesuffix("_base_layer")


def scheme_of(module: str) -> str:
    """The dialect of a module's spelling, for people to read; `unknown` if it is not recognised."""
    return next((name for starts, name in _SCHEMES if starts.match(module)), "unknown")


def is_beside(name: str) -> bool:
    """Whether a tensor is an embedding or similar, without which the LoRA still works."""
    return _BESIDE.search(name) is not None
