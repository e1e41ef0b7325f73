"""The configuration of a checkpoint in one file: its family's published one, with the file's
shapes.

Widths, depths and channels are derived from the tensors, so that finetunes with other sizes load
too. Numbers of attention heads, which no shape tells, follow the family's rule. Reads no weights.
"""

import re
from collections.abc import Mapping
from math import gcd

from shared.checkpoints.published import Config, published_configs
from shared.checkpoints.single_file import UNET

Shapes = Mapping[str, tuple[int, ...]]

# SD 2.x and SDXL have heads of 64 channels, SD 1.x has eight heads; text encoders have heads of 64.
HEAD_CHANNELS = 64
HEADS_OF_SD1 = 8
_VAE = "first_stage_model."


def configurations(family: str, shapes: Shapes) -> dict[str, Config]:
    """Each part's configuration by its folder's name; `model_index` is the pipeline's."""
    published = published_configs(family)
    published["unet"] |= _unet(family, shapes)
    published["vae"] |= _autoencoder(shapes)
    for part, prefix in text_prefixes(family, shapes).items():
        published[part] |= _text_encoder(part, prefix, shapes)
    return published


def text_prefixes(family: str, shapes: Shapes) -> dict[str, str]:
    """The name prefixes of the text encoders' tensors."""
    if family == "sdxl":
        return {
            "text_encoder": "conditioner.embedders.0.transformer.text_model.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        }
    openclip = any(name.startswith("cond_stage_model.model.") for name in shapes)
    prefix = "cond_stage_model.model." if openclip else "cond_stage_model.transformer.text_model."
    return {"text_encoder": prefix}


def _unet(family: str, shapes: Shapes) -> Config:
    levels = _levels(shapes)
    channels = [level["channels"] for level in levels]
    attends = [level["depth"] > 0 for level in levels]
    projection = _shape(shapes, re.escape(UNET) + r"input_blocks\..*\.1\.proj_in\.weight")
    text = _shape(shapes, re.escape(UNET) + r".*attn2\.to_k\.weight")
    first = shapes[UNET + "input_blocks.0.0.weight"]
    config: Config = {
        "in_channels": first[1],
        "out_channels": shapes.get(UNET + "out.2.weight", (4,))[0],
        "block_out_channels": channels,
        "layers_per_block": levels[0]["layers"],
        "down_block_types": [_block(attends[i], "DownBlock2D") for i in range(len(levels))],
        "up_block_types": [_block(has, "UpBlock2D") for has in reversed(attends)],
        "norm_num_groups": gcd(32, *channels),
        "attention_head_dim": _heads(family, channels),
    }
    if text is not None:
        config["cross_attention_dim"] = text[-1]
    if projection is not None:
        config["use_linear_projection"] = len(projection) == 2
    if family == "sdxl":
        depths = [max(1, level["depth"]) for level in levels]
        # The middle block is as deep as the last level.
        depths[-1] = max(1, _count(shapes, UNET + "middle_block.1.transformer_blocks."))
        config["transformer_layers_per_block"] = depths
        config |= _added_conditions(shapes)
    return config


def _levels(shapes: Shapes) -> list[dict[str, int]]:
    """Each level's channels, number of ResNet layers, and depth of its transformers."""
    levels: list[dict[str, int]] = [{"channels": 0, "layers": 0, "depth": 0}]
    for index in range(1, _count(shapes, UNET + "input_blocks.")):
        block = f"{UNET}input_blocks.{index}."
        if block + "0.op.weight" in shapes:
            levels.append({"channels": 0, "layers": 0, "depth": 0})
            continue
        levels[-1]["channels"] = shapes[block + "0.out_layers.3.weight"][0]
        levels[-1]["layers"] += 1
        levels[-1]["depth"] = _count(shapes, block + "1.transformer_blocks.")
    return levels


def _block(attends: bool, plain: str) -> str:
    return f"CrossAttn{plain}" if attends else plain


def _heads(family: str, channels: list[int]) -> int | list[int]:
    if family == "sd15":
        return HEADS_OF_SD1
    return [max(1, width // HEAD_CHANNELS) for width in channels]


def _added_conditions(shapes: Shapes) -> Config:
    """SDXL's sizes beside the pooled text: six numbers, each encoded in this many channels."""
    width = shapes[UNET + "label_emb.0.0.weight"][1]
    pooled = shapes["conditioner.embedders.1.model.text_projection"][1]
    return {
        "projection_class_embeddings_input_dim": width,
        "addition_time_embed_dim": (width - pooled) // 6,
    }


def _autoencoder(shapes: Shapes) -> Config:
    encoder = _VAE + "encoder.down."
    count = _count(shapes, encoder)
    channels = [shapes[f"{encoder}{i}.block.0.conv1.weight"][0] for i in range(count)]
    return {
        "block_out_channels": channels,
        "layers_per_block": _count(shapes, f"{encoder}0.block."),
        "latent_channels": shapes[_VAE + "decoder.conv_in.weight"][1],
        "norm_num_groups": gcd(32, *channels),
        "down_block_types": ["DownEncoderBlock2D"] * count,
        "up_block_types": ["UpDecoderBlock2D"] * count,
    }


def _text_encoder(part: str, prefix: str, shapes: Shapes) -> Config:
    return _clip(prefix, shapes) if "text_model" in prefix else _open_clip(part, prefix, shapes)


def _clip(prefix: str, shapes: Shapes) -> Config:
    vocabulary, width = shapes[prefix + "embeddings.token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": shapes[prefix + "encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, prefix + "encoder.layers."),
        "num_attention_heads": max(1, width // HEAD_CHANNELS),
    }


def _open_clip(part: str, prefix: str, shapes: Shapes) -> Config:
    vocabulary, width = shapes[prefix + "token_embedding.weight"]
    layers = _count(shapes, prefix + "transformer.resblocks.")
    config: Config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[prefix + "transformer.resblocks.0.mlp.c_fc.weight"][0],
        # SD 2.x uses the output of the second-last layer, so diffusers leaves the last one out.
        "num_hidden_layers": layers if part == "text_encoder_2" else layers - 1,
        "num_attention_heads": max(1, width // HEAD_CHANNELS),
    }
    if part == "text_encoder_2":
        config["projection_dim"] = shapes[prefix + "text_projection"][1]
    return config


def _count(shapes: Shapes, prefix: str) -> int:
    """How many consecutive numbers, starting at 0, follow the prefix."""
    found = {name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix)}
    return next(index for index in range(len(found) + 1) if str(index) not in found)


def _shape(shapes: Shapes, pattern: str) -> tuple[int, ...] | None:
    matcher = re.compile(pattern)
    return next((shape for name, shape in shapes.items() if matcher.fullmatch(name)), None)
