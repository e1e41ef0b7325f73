"""Files as the tests need them: right keys and shapes of every scheme, and any bytes around them.

Written by hand, so that a test can also write what no library would.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_ITEM_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1, "I64": 8}


class Spec(NamedTuple):
    """One tensor to write: its shape, its type, and its bytes (zeros when None)."""

    shape: tuple[int, ...]
    dtype: str = "F16"
    data: bytes | None = None


Specs = Mapping[str, Spec]


def size_of(spec: Spec) -> int:
    count = 1
    for side in spec.shape:
        count *= side
    return count * _ITEM_BYTES[spec.dtype]


def header_of(specs: Specs, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The header of a sound file; tests change it before `write_raw`."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, spec in specs.items():
        end = offset + size_of(spec)
        header[name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    return header


def body_of(specs: Specs) -> bytes:
    return b"".join(
        spec.data if spec.data is not None else bytes(size_of(spec)) for spec in specs.values()
    )


def write_raw(path: Path, header: bytes | dict[str, Any], body: bytes = b"") -> Path:
    """Write a header, whatever it holds, behind its true length."""
    raw = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)
    return path


def write_lora(path: Path, specs: Specs, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a sound safetensors file."""
    return write_raw(path, header_of(specs, metadata), body_of(specs))


def pair(
    module: str,
    in_features: int,
    out_features: int | None = None,
    *,
    rank: int = 4,
    names: tuple[str, str] = (".lora_A.weight", ".lora_B.weight"),
    kernel: int = 0,
    dtype: str = "F16",
) -> dict[str, Spec]:
    """The two factors of one module; with `kernel`, those of a convolution."""
    sides, ones = ((kernel, kernel), (1, 1)) if kernel else ((), ())
    out_features = in_features if out_features is None else out_features
    return {
        module + names[0]: Spec((rank, in_features, *sides), dtype),
        module + names[1]: Spec((out_features, rank, *ones), dtype),
    }


KOHYA = (".lora_down.weight", ".lora_up.weight")


def kohya(module: str, in_features: int, out_features: int | None = None, **options: Any) -> Specs:
    """A kohya layer: two factors and the alpha."""
    layer = pair(module, in_features, out_features, names=KOHYA, **options)
    return {**layer, f"{module}.alpha": Spec((), "F16", struct.pack("<e", 4.0))}


def merge(parts: Iterable[Specs]) -> dict[str, Spec]:
    return {name: spec for part in parts for name, spec in part.items()}


_ATTENTION = ("attn1_to_q", "attn1_to_k", "attn1_to_v", "attn2_to_q", "attn2_to_out_0")


def kohya_block(block: str, width: int, context: int, depth: int = 1, **options: Any) -> Specs:
    """The attention of one UNet block in kohya's names."""
    parts: list[Specs] = []
    for index in range(depth):
        stem = f"lora_unet_{block}_transformer_blocks_{index}_"
        parts += [kohya(stem + name, width, **options) for name in _ATTENTION]
        parts += [kohya(f"{stem}attn2_to_{x}", context, width, **options) for x in "kv"]
        parts.append(kohya(f"{stem}ff_net_0_proj", width, 8 * width, **options))
    return merge(parts)


def diffusers_block(block: str, width: int, context: int, **options: Any) -> Specs:
    """The attention of one UNet block in the names of diffusers with PEFT."""
    stem = f"unet.{block}.transformer_blocks.0."
    own = [pair(f"{stem}attn1.to_{x}", width, **options) for x in ("q", "k", "v", "out.0")]
    cross = [pair(f"{stem}attn2.to_{x}", context, width, **options) for x in ("k", "v")]
    return merge([*own, *cross, pair(f"{stem}attn2.to_q", width, **options)])


def kohya_encoder(prefix: str, width: int, layers: int = 2) -> Specs:
    """A text encoder in kohya's names."""
    return merge(
        kohya(f"{prefix}_text_model_encoder_layers_{i}_self_attn_{x}", width)
        for i in range(layers)
        for x in ("q_proj", "k_proj", "v_proj", "out_proj")
    )


def sd15_specs() -> dict[str, Spec]:
    """A plain SD 1.5 LoRA in diffusers' names."""
    return merge([diffusers_block("down_blocks.0.attentions.0", 320, 768)])


def tiny_specs(rank: int = 4) -> dict[str, Spec]:
    """A plain LoRA of the embedded base in diffusers' names."""
    return merge([diffusers_block("mid_block.attentions.0", 128, 64, rank=rank)])


def sdxl_specs() -> dict[str, Spec]:
    """A kohya SDXL LoRA with both text encoders."""
    return merge(
        [
            kohya_block("input_blocks_4_1", 640, 2048, depth=2),
            kohya_encoder("lora_te1", 768),
            kohya_encoder("lora_te2", 1280),
        ]
    )


SDXL_KOHYA_METADATA = {
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
    "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
    "modelspec.title": "product_lighting",
    "modelspec.resolution": "1024x1024",
    "modelspec.date": "2026-03-01T10:00:00",
    "modelspec.prediction_type": "epsilon",
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_network_module": "networks.lora",
    "ss_network_args": '{"conv_dim": null}',
    "ss_optimizer": "transformers.optimization.Adafactor(scale_parameter=False)",
    "ss_sd_model_name": "stabilityai/stable-diffusion-xl-base-1.0",
    "ss_session_id": "3735928559",
    "ss_training_started_at": "1772359200.1234567",
    "ss_learning_rate": "0.0004",
    "ss_v2": "False",
    "ss_training_comment": "None",
    "ss_tag_frequency": json.dumps(
        {"10_lamp": {"studio light, softbox": 12, "@_@": 1, "1girl": 3, "人像": 2}}
    ),
    "ss_dataset_dirs": '{"10_lamp": {"n_repeats": 10, "img_count": 24}}',
    "sshs_model_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "sshs_legacy_hash": "9f86d081",
    "modelspec.hash_sha256": "0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
"""What kohya's sd-scripts write into an SDXL LoRA by default."""
