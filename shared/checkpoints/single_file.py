"""The facts of a checkpoint in one file, from the names and shapes in its header.

Names are those of the reference implementations (CompVis, Stability AI), in which model sites
distribute checkpoints; diffusers converts them when it loads the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from shared.checkpoints.facts import BadCheckpoint, CheckpointFacts
from shared.loras.header import Header, read_header
from shared.loras.reasons import Refused

UNET = "model.diffusion_model."
_FIRST_CONVOLUTION = UNET + "input_blocks.0.0.weight"
_TEXT_KEYS = re.compile(re.escape(UNET) + r".*\.attn2\.to_k\.weight")
_GUIDANCE = UNET + "time_embed.cond_proj.weight"
_LORA = re.compile(r"lora_(down|up|A|B)\b|\blora\.(down|up)\b|hada_w|lokr_w|oft_blocks")
_TRANSFORMERS = {"double_blocks.": "FluxPipeline", "joint_blocks.": "StableDiffusion3Pipeline"}
_PARTS = {
    "the UNet": (UNET, "double_blocks.", "joint_blocks."),
    "the autoencoder (VAE)": ("first_stage_model.", "vae."),
    "the text encoder": ("cond_stage_model.", "conditioner.", "text_encoders."),
}

Shapes = Mapping[str, tuple[int, ...]]


def file_facts(path: Path) -> CheckpointFacts:
    """Reads the facts. Raises BadCheckpoint if the file is not a complete safetensors file.

    A `.ckpt` has no header that can be read without torch; its facts are unknown until it is
    loaded.
    """
    if path.suffix.lower() == ".ckpt":
        return CheckpointFacts()
    return facts_of(read_shapes(path))


def facts_of(shapes: Shapes) -> CheckpointFacts:
    """The facts that follow from tensor names and shapes."""
    return CheckpointFacts(
        pipeline=next((kind for mark, kind in _TRANSFORMERS.items() if _has(shapes, mark)), ""),
        in_channels=_at(shapes.get(_FIRST_CONVOLUTION), 1),
        cross_attention_width=next(
            (shape[-1] for name, shape in shapes.items() if _TEXT_KEYS.fullmatch(name)), None
        ),
        has_guidance_embedding=_GUIDANCE in shapes,
        has_latent_mean="edm_mean" in shapes,
        is_lora=any(_LORA.search(name) for name in shapes),
        missing=tuple(part for part, marks in _PARTS.items() if not _has_any(shapes, marks)),
    )


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape, from the header alone. Raises BadCheckpoint."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            header = read_header(file, size)
    except Refused as error:
        why = error.finding.en
        raise BadCheckpoint(f"'{path.name}' is no safetensors file. {why}") from error
    _check_length(path, header, size)
    return {tensor.name: tensor.shape for tensor in header.tensors}


def _check_length(path: Path, header: Header, size: int) -> None:
    end = header.body_start + max(tensor.end for tensor in header.tensors)
    if end > size:
        raise BadCheckpoint(
            f"'{path.name}' is incomplete: {size:,} of {end:,} bytes. Download it again"
        )


def _has(shapes: Shapes, mark: str) -> bool:
    return any(mark in name for name in shapes)


def _has_any(shapes: Shapes, marks: tuple[str, ...]) -> bool:
    return any(_has(shapes, mark) for mark in marks)


def _at(shape: tuple[int, ...] | None, index: int) -> int | None:
    return shape[index] if shape is not None and len(shape) > index else None
