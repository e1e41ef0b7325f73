"""Checkpoints in one file, with the names used by model sites.

Small random networks of the real classes; their tensors are renamed by the inverse of diffusers'
converters. For tests of loading: their pictures are meaningless.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

Tensors = dict[str, torch.Tensor]
CHANNELS = (32, 64)
VOCABULARY = 49_408

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def sd15_file(path: Path, more: Mapping[str, torch.Tensor] | None = None) -> Path:
    """A checkpoint of SD 1.5's classes in one file, with `more` tensors in it."""
    tensors = _unet(small_unet(768, attention_head_dim=8)) | _autoencoder() | dict(more or {})
    return _saved(path, tensors | _clip(768, "cond_stage_model.transformer.text_model."))


def sd21_file(path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """A checkpoint of SD 2.1's classes in one file."""
    unet = small_unet(1024, attention_head_dim=[1, 1], use_linear_projection=True)
    tensors = _unet(unet) | _autoencoder() | _open_clip(1024, "cond_stage_model.model.", layers=3)
    return _saved(path, tensors, metadata)


def sdxl_file(path: Path) -> Path:
    """A checkpoint of SDXL's classes in one file."""
    unet = small_unet(
        2048,
        attention_head_dim=[1, 1],
        use_linear_projection=True,
        transformer_layers_per_block=[1, 2],
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 1280,
    )
    tensors = _unet(unet) | _autoencoder()
    tensors |= _clip(768, "conditioner.embedders.0.transformer.text_model.")
    return _saved(path, tensors | _open_clip(1280, "conditioner.embedders.1.model.", layers=2))


def small_unet(width: int, **extra: Any) -> UNet2DConditionModel:
    """The UNet with the file's weights."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        **{
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": CHANNELS,
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": width,
            **extra,
        }
    ).eval()


def _saved(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    halves = {name: value.half().contiguous() for name, value in tensors.items()}
    if path.suffix == ".ckpt":
        torch.save({"state_dict": halves}, path)
    else:
        save_file(halves, path, dict(metadata or {}))
    return path


def _unet(unet: UNet2DConditionModel) -> Tensors:
    layers = int(unet.config.layers_per_block)
    # An enlarging convolution follows the ResNet layer and the transformer, if there is one.
    attends = [kind.startswith("CrossAttn") for kind in unet.config.up_block_types]
    return {
        f"model.diffusion_model.{_unet_name(name, layers, attends)}": value
        for name, value in unet.state_dict().items()
    }


def _unet_name(name: str, layers: int, attends: Sequence[bool]) -> str:
    for ours, theirs in _OUTER.items():
        if name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    if found is None:
        return _middle_name(name)
    way, level, kind, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if way == "down":
        number = 1 + level * (layers + 1) + (layers if kind == "downsamplers" else index)
        block = f"input_blocks.{number}"
    else:
        number = level * (layers + 1) + (layers if kind == "upsamplers" else index)
        # The enlarging convolution belongs to the level's last block.
        block = f"output_blocks.{number}"
    if kind == "downsamplers":
        return f"{block}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"{block}.{1 + attends[level]}.{rest}"
    return f"{block}.0.{_resnet(rest)}" if kind == "resnets" else f"{block}.1.{rest}"


def _middle_name(name: str) -> str:
    found = re.fullmatch(r"mid_block\.(\w+)\.(\d+)\.(.+)", name)
    assert found is not None, name
    if found[1] == "attentions":
        return f"middle_block.1.{found[3]}"
    return f"middle_block.{2 * int(found[2])}.{_resnet(found[3])}"


def _resnet(rest: str) -> str:
    layer, _, kind = rest.rpartition(".")
    return f"{_RESNET[layer]}.{kind}"


def _autoencoder() -> Tensors:
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
    )
    return _vae_tensors(vae)


def _vae_tensors(vae: torch.nn.Module) -> Tensors:
    return {
        f"first_stage_model.{_vae_name(name)}": _as_convolution(name, value)
        for name, value in vae.state_dict().items()
    }


def _vae_name(name: str) -> str:
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{3 - int(m[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
    for ours, theirs in {
        "conv_shortcut": "nin_shortcut",
        "conv_norm_out": "norm_out",
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
    }.items():
        name = name.replace(ours, theirs)
    return name


def _as_convolution(name: str, value: torch.Tensor) -> torch.Tensor:
    """Attention's linear layers were convolutions of one pixel in the reference."""
    return value[:, :, None, None] if ".attentions." in name and value.dim() == 2 else value


def _text_config(width: int, layers: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        projection_dim=width,
        eos_token_id=49407,
    )


def _clip(width: int, prefix: str) -> Tensors:
    torch.manual_seed(2)
    return _clip_tensors(CLIPTextModel(_text_config(width, 2)), prefix)


def _clip_tensors(model: torch.nn.Module, prefix: str) -> Tensors:
    return {
        prefix + name.removeprefix("text_model."): value
        for name, value in model.state_dict().items()
    }


def _open_clip(width: int, prefix: str, layers: int) -> Tensors:
    torch.manual_seed(3)
    model = CLIPTextModelWithProjection(_text_config(width, layers))
    return _open_clip_tensors(model, prefix, layers)


def _open_clip_tensors(model: torch.nn.Module, prefix: str, layers: int) -> Tensors:
    """The encoder's tensors with open_clip's names; a missing layer is repeated."""
    state = {name.removeprefix("text_model."): value for name, value in model.state_dict().items()}
    words = state["embeddings.token_embedding.weight"]
    square = torch.empty(words.shape[1], words.shape[1], device=words.device)
    found: Tensors = {
        prefix + "token_embedding.weight": words,
        prefix + "positional_embedding": state["embeddings.position_embedding.weight"],
        prefix + "text_projection": state.get("text_projection.weight", square).T,
    }
    for kind in ("weight", "bias"):
        found[f"{prefix}ln_final.{kind}"] = state[f"final_layer_norm.{kind}"]
    kept = text_layers(model)
    for layer in range(layers):
        ours, theirs = f"encoder.layers.{min(layer, kept - 1)}.", f"transformer.resblocks.{layer}."
        found |= _resblock(state, ours, prefix + theirs)
    return found


def text_layers(model: torch.nn.Module) -> int:
    """How many layers a text encoder has."""
    config: Any = model.config
    return int(config.num_hidden_layers)


def _resblock(state: Tensors, ours: str, theirs: str) -> Tensors:
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    block = {
        f"{theirs}{new}.{kind}": state[f"{ours}{old}.{kind}"]
        for old, new in names.items()
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        parts = [state[f"{ours}self_attn.{part}_proj.{kind}"] for part in "qkv"]
        block[f"{theirs}attn.in_proj_{kind}"] = torch.cat(parts)
    return block


def names_and_shapes(
    parts: Mapping[str, torch.nn.Module], family: str
) -> dict[str, tuple[int, ...]]:
    """The header's contents for a file with these networks; they may have no memory."""
    unet: Any = parts["unet"]
    tensors = _unet(unet) | _vae_tensors(parts["vae"])
    if family == "sd15":
        tensors |= _clip_tensors(parts["text_encoder"], "cond_stage_model.transformer.text_model.")
    if family == "sd21":
        # The file has one layer more than diffusers uses.
        layers = text_layers(parts["text_encoder"]) + 1
        tensors |= _open_clip_tensors(parts["text_encoder"], "cond_stage_model.model.", layers)
    if family == "sdxl":
        first = "conditioner.embedders.0.transformer.text_model."
        second = parts["text_encoder_2"]
        tensors |= _clip_tensors(parts["text_encoder"], first)
        tensors |= _open_clip_tensors(second, "conditioner.embedders.1.model.", text_layers(second))
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
