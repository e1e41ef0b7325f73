"""The facts of a checkpoint in one file, from the names and shapes of its tensors.

Names are those of the reference implementations (CompVis, Stability AI), in which model sites
distribute checkpoints; diffusers converts them when it loads the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from shared.checkpoints.facts import BadCheckpoint, CheckpointFacts
from shared.checkpoints.formats import GGUF, check_format
from shared.checkpoints.other_models import name_other
from shared.loras.header import Header, read_header, refuse_other_formats
from shared.loras.reasons import Finding, Reason, Refused, clean
from shared.upscalers.pickled import read_checkpoint

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

# A file with a UNet and only one of the others missing is an incomplete checkpoint.
_MOST_MISSING = 2
# Widths of the text embeddings of SD 1.x, SD 2.x and SDXL, and of SDXL's refiner.
_WIDTHS, _REFINER_WIDTH = frozenset({768, 1024, 2048}), 1280
CKPT = ".ckpt"
_UNSAFE_WORDS = (
    "cannot be read without running code from it. {} Use the same checkpoint as .safetensors"
)

Shapes = Mapping[str, tuple[int, ...]]


def file_facts(path: Path) -> CheckpointFacts:
    """Reads the facts. Raises BadCheckpoint for a file of another format, one that is damaged or
    incomplete, and one that could run code.
    """
    check_format(path)
    return facts_of(read_shapes(path))


def facts_of(shapes: Shapes) -> CheckpointFacts:
    """The facts that follow from tensor names and shapes."""
    missing = tuple(part for part, marks in _PARTS.items() if not _has_any(shapes, marks))
    channels = _at(shapes.get(_FIRST_CONVOLUTION), 1)
    width = next((shape[-1] for name, shape in shapes.items() if _TEXT_KEYS.fullmatch(name)), None)
    return CheckpointFacts(
        pipeline=next((kind for mark, kind in _TRANSFORMERS.items() if _has(shapes, mark)), ""),
        in_channels=channels,
        cross_attention_width=width,
        has_guidance_embedding=_GUIDANCE in shapes,
        has_latent_mean="edm_mean" in shapes,
        is_lora=any(_LORA.search(name) for name in shapes),
        other=_other(shapes, channels, width, missing),
        missing=missing,
    )


def _other(
    shapes: Shapes, channels: int | None, width: int | None, missing: tuple[str, ...]
) -> str:
    """The other model that the file is, and what to do; empty for a base."""
    is_whole = channels is not None and len(missing) < _MOST_MISSING
    found = name_other(shapes, is_whole=is_whole)
    if found is not None:
        return f"{found.what}. {found.advice}"
    if len(missing) == len(_PARTS):
        return (
            "no checkpoint that is known here: it has no UNet, autoencoder and text encoder; one "
            f"of its tensors is {clean(next(iter(shapes)))}"
        )
    if width in _WIDTHS:
        return ""
    kind = "the SDXL refiner, which" if width == _REFINER_WIDTH else "of a family that"
    return (
        f"{kind} is not served from one file (SD 1.x, SD 2.x and SDXL are). Name its folder in "
        "diffusers' layout: retouch models pull OWNER/NAME"
    )


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape, from the header or the pickle alone. Raises BadCheckpoint."""
    size = path.stat().st_size
    if size == 0:
        raise BadCheckpoint(f"'{path.name}' is empty. Download it again")
    with path.open("rb") as file:
        if path.suffix.lower() == CKPT:
            return _pickled_shapes(path, file, size)
        return _plain_shapes(path, file, size)


def _plain_shapes(path: Path, file: BinaryIO, size: int) -> dict[str, tuple[int, ...]]:
    try:
        header = read_header(file, size)
    except Refused as error:
        raise _refused(path, error.finding, "is no safetensors file. {}") from error
    _check_length(path, header, size)
    return {tensor.name: tensor.shape for tensor in header.tensors}


def _pickled_shapes(path: Path, file: BinaryIO, size: int) -> dict[str, tuple[int, ...]]:
    try:
        refuse_other_formats(file.read(8))
        return {name: one.shape for name, one in read_checkpoint(file, size).items()}
    except Refused as error:
        is_unsafe = error.finding.reason is Reason.UNSAFE_PICKLE
        words = _UNSAFE_WORDS if is_unsafe else "is no checkpoint, or is damaged. {}"
        raise _refused(path, error.finding, words) from error


def _refused(path: Path, finding: Finding, words: str) -> BadCheckpoint:
    said = f"is {GGUF}" if finding.reason is Reason.GGUF else words.format(finding.en)
    return BadCheckpoint(f"'{path.name}' {said}")


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
