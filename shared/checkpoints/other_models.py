"""What a file of weights is that is neither a base nor a LoRA, by its tensors' names.

Owns the marks of the models that people have beside their checkpoints; the names are those of the
reference implementations and of diffusers. Knows nothing of files and shapes.
"""

import re
from collections.abc import Collection
from typing import NamedTuple


class OtherModel(NamedTuple):
    """A model with its article, what to do instead of serving it, and a pattern of its names.
    `in_whole` is whether a file that also has all parts of a checkpoint is this model.
    """

    what: str
    advice: str
    marks: re.Pattern[str]
    in_whole: bool = False


_NOT_USED = "This service does not use it; name the checkpoint itself"
_OWN_PARTS = (
    "A checkpoint brings its own: name the whole checkpoint, as one file or as a folder in "
    "diffusers' layout"
)
_OTHER_PARTS = (
    "Its autoencoder and text encoder are needed too: name the whole checkpoint, as one file or as "
    "a folder in diffusers' layout"
)
_AS_FOLDER = "It is served from a folder in diffusers' layout: retouch models pull {}"
_NOT_SERVED = "This service does not serve it; use SD 1.x, SD 2.x, SDXL, SD 3 or FLUX"
_FULL_WEIGHTS = (
    "Use the checkpoint with its own weights (fp16); RETOUCH_QUANTIZE=int8 then makes it smaller"
)


def _other(what: str, advice: str, marks: str, in_whole: bool = False) -> OtherModel:
    return OtherModel(what, advice, re.compile(marks), in_whole)


# The first that fits counts: what a network is built into comes before the network.
_KNOWN = (
    _other(
        "a checkpoint with weights of four bits (bitsandbytes, SVDQuant)",
        _FULL_WEIGHTS,
        r"\.quant_state\.bitsandbytes__|\.absmax$|\.wscales$",
        in_whole=True,
    ),
    _other(
        "a checkpoint with scaled weights of eight bits (scaled fp8)",
        _FULL_WEIGHTS,
        r"(?:^|\.)scaled_fp8$|\.scale_weight$|\.weight_scale$",
        in_whole=True,
    ),
    _other(
        "a ControlNet",
        _NOT_USED,
        r"^control_model\.|(?:^|\.)controlnet_\w+\.|(?:^|\.)input_hint_block\.",
        in_whole=True,
    ),
    _other(
        "an IP adapter",
        _NOT_USED,
        r"^ip_adapter\.|^image_proj(?:_model)?\.|\.to_[kv]_ip\.",
    ),
    _other(
        "a T2I adapter", _NOT_USED, r"^(?:adapter\.)?body\.\d+\.(?:block[12]|in_conv|resnets\.)"
    ),
    _other("a motion module (AnimateDiff)", _NOT_USED, r"(?:^|\.)motion_modules\."),
    _other(
        "a textual inversion embedding",
        _NOT_USED,
        r"^(?:emb_params|string_to_param|clip_[lg])$|^string_to_param\.",
    ),
    _other(
        "an enlarger",
        "Put it into the folder of enlargers (docs/upscalers.md)",
        r"^(?:params(?:_ema)?\.)?(?:conv_first\.|RRDB_trunk\.|model\.\d+\.sub\.\d+\.|body\.0\.rdb1\.)",
    ),
    _other(
        "a video checkpoint (Stable Video Diffusion)",
        _NOT_SERVED,
        r"\.time_stack\.|\.temporal_transformer_blocks\.",
        in_whole=True,
    ),
    _other(
        "a Qwen-Image network in one file",
        _AS_FOLDER.format("Qwen/Qwen-Image-Edit"),
        r"(?:^|\.)transformer_blocks\.\d+\.img_mlp\.",
    ),
    _other(
        "a FLUX network in one file",
        _AS_FOLDER.format("black-forest-labs/FLUX.1-dev"),
        r"(?:^|\.)double_blocks\.\d+\.|(?:^|\.)single_transformer_blocks\.\d+\.",
    ),
    _other(
        "an SD 3 network in one file",
        _AS_FOLDER.format("stabilityai/stable-diffusion-3-medium-diffusers"),
        r"(?:^|\.)joint_blocks\.\d+\.|(?:^|\.)transformer_blocks\.\d+\.attn\.add_[qkv]_proj\.",
    ),
    _other(
        "a Sana checkpoint",
        _NOT_SERVED,
        r"\.mlp\.inverted_conv\.|\.ff\.conv_inverted\.|^attention_y_norm\.",
    ),
    _other(
        "a PixArt checkpoint",
        _NOT_SERVED,
        r"(?:^|\.)y_embedder\.y_proj\.|(?:^|\.)blocks\.\d+\.cross_attn\.(?:q_linear|kv_linear)\."
        r"|(?:^|\.)adaln_single\.",
    ),
    _other(
        "a Stable Cascade checkpoint",
        _NOT_SERVED,
        r"(?:^|\.)(?:clip_txt_(?:pooled_)?mapper|effnet_mapper)\.",
        in_whole=True,
    ),
    _other(
        "a UNet alone",
        _OTHER_PARTS,
        r"^model\.diffusion_model\.input_blocks\.|^(?:unet\.)?(?:down|up)_blocks\.\d+\.attentions\."
        r"|^input_blocks\.\d",
    ),
    _other(
        "an autoencoder (VAE) alone",
        _OWN_PARTS,
        r"^(?:first_stage_model\.|vae\.)?(?:encoder|decoder)\.(?:conv_in|layers\.\d+|\d+)\."
        r"|^\d+\.(?:conv\.\d+\.)?weight$|^taesd_",
    ),
    _other(
        "an image encoder alone (CLIP)",
        _NOT_USED,
        r"(?:^|\.)vision_model\.|^visual(?:_projection)?\.",
    ),
    _other(
        "a text encoder alone (CLIP or T5)",
        _OWN_PARTS,
        r"^(?:cond_stage_model\.|conditioner\.|text_encoders?\.)|^text_model\.|^shared\.weight$"
        r"|^encoder\.block\.\d|^transformer\.resblocks\.|^(?:model\.)?layers\.\d+\.self_attn\.",
    ),
)  # fmt: skip


def name_other(names: Collection[str], *, is_whole: bool) -> OtherModel | None:
    """The model with tensors of these names; None if it is not known. `is_whole` is whether the
    names are also those of a complete checkpoint.
    """
    candidates = [one for one in _KNOWN if one.in_whole or not is_whole]
    return next((one for one in candidates if any(map(one.marks.search, names))), None)
