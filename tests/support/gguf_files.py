"""GGUF files of small transformers, written by the `gguf` package as people's converters do."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from safetensors.torch import load_file

Q8_0, Q4_0 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0
F16, F32 = GGMLQuantizationType.F16, GGMLQuantizationType.F32

BLOCK = 32

# SD 3's names in the reference implementation, for one block, which is also the last.
_SD3_NAMES = (
    (r"^pos_embed\.pos_embed$", "pos_embed"),
    (r"^pos_embed\.proj\.", "x_embedder.proj."),
    (r"^time_text_embed\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
    (r"^time_text_embed\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
    (r"^time_text_embed\.text_embedder\.linear_1\.", "y_embedder.mlp.0."),
    (r"^time_text_embed\.text_embedder\.linear_2\.", "y_embedder.mlp.2."),
    (r"^proj_out\.", "final_layer.linear."),
    (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
    (r"^transformer_blocks\.0\.attn\.to_out\.0\.", "joint_blocks.0.x_block.attn.proj."),
    (r"^transformer_blocks\.0\.norm1\.linear\.", "joint_blocks.0.x_block.adaLN_modulation.1."),
    (
        r"^transformer_blocks\.0\.norm1_context\.linear\.",
        "joint_blocks.0.context_block.adaLN_modulation.1.",
    ),
    (r"^transformer_blocks\.0\.ff\.net\.0\.proj\.", "joint_blocks.0.x_block.mlp.fc1."),
    (r"^transformer_blocks\.0\.ff\.net\.2\.", "joint_blocks.0.x_block.mlp.fc2."),
)
_SWAPPED = ("norm_out.linear", "norm1_context.linear")
_QKV = {
    "x_block": ("to_q", "to_k", "to_v"),
    "context_block": ("add_q_proj", "add_k_proj", "add_v_proj"),
}


def take_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Removes the transformer's weights from a checkpoint's folder and returns them."""
    (path,) = (folder / "transformer").glob("*.safetensors")
    weights = load_file(path)
    path.unlink()
    return weights


def sd3_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The transformer of `make_sd3` under the names of the reference implementation."""
    left, named = dict(weights), {}
    for block, parts in _QKV.items():
        for kind in ("weight", "bias"):
            three = [left.pop(f"transformer_blocks.0.attn.{part}.{kind}") for part in parts]
            named[f"joint_blocks.0.{block}.attn.qkv.{kind}"] = torch.cat(three)
    for name, weight in left.items():
        if any(part in name for part in _SWAPPED):
            scale, shift = weight.chunk(2)
            weight = torch.cat((shift, scale))
        for pattern, original in _SD3_NAMES:
            name = re.sub(pattern, original, name)
        named[name] = weight
    return named


def write_gguf(path: Path, weights: Mapping[str, torch.Tensor], kind: GGMLQuantizationType) -> Path:
    """Matrices are quantised, everything else stays in single precision, and is in half precision
    where it has four sides.
    """
    writer = GGUFWriter(path, "sd3")
    for name, weight in weights.items():
        is_matrix = weight.dim() == 2 and weight.shape[1] % BLOCK == 0
        stored = kind if is_matrix else F16 if weight.dim() == 4 else F32
        data = quantize(weight.float().contiguous().numpy(), stored)
        writer.add_tensor(name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
