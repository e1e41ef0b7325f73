"""The facts of a checkpoint folder in diffusers' layout, from its configuration files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.checkpoints.facts import BadCheckpoint, CheckpointFacts
from shared.checkpoints.gguf import gguf_complaint
from shared.loras.reasons import clean

SINGLE_FILES = (".safetensors", ".ckpt")

# Parts that a pipeline does not need here: this service's own guards check the outputs.
DISPENSABLE = frozenset({"safety_checker", "feature_extractor", "image_encoder", "watermark"})

_FOR_TORCH = "Use the folder with its .safetensors files: retouch models pull OWNER/NAME"
_RUNTIMES = {
    "Onnx": f"a checkpoint for ONNX Runtime. {_FOR_TORCH}",
    "ORT": f"a checkpoint for ONNX Runtime. {_FOR_TORCH}",
    "OV": f"a checkpoint for OpenVINO. {_FOR_TORCH}",
    "Flax": f"a checkpoint for Flax. {_FOR_TORCH}",
}


def folder_facts(folder: Path) -> CheckpointFacts:
    """Reads the facts from the folder's configuration files; `read_index` tells whether it is a
    checkpoint.
    """
    index = read_config(folder / "model_index.json")
    unet = read_config(folder / "unet" / "config.json")
    autoencoder = read_config(folder / "vae" / "config.json")
    width = unet.get("cross_attention_dim")
    pipeline = str(index.get("_class_name", ""))
    runtime = next((said for kind, said in _RUNTIMES.items() if pipeline.startswith(kind)), "")
    transformer = read_config(folder / "transformer" / "config.json")
    return CheckpointFacts(
        pipeline=pipeline,
        other=runtime or gguf_complaint(folder, transformer),
        in_channels=unet.get("in_channels"),
        cross_attention_width=width if isinstance(width, int) else None,
        has_guidance_embedding=unet.get("time_cond_proj_dim") is not None,
        has_latent_mean=autoencoder.get("latents_mean") is not None,
        missing=tuple(sorted(missing_parts(folder, index) - DISPENSABLE)),
    )


def read_index(folder: Path) -> Mapping[str, Any]:
    """The folder's model_index.json. Raises BadCheckpoint."""
    if (folder / "adapter_config.json").is_file():
        raise BadCheckpoint(
            f"'{folder.name}' is a LoRA in PEFT's layout; put it into the LoRA folder"
        )
    index = read_config(folder / "model_index.json")
    if not index:
        raise BadCheckpoint(_without_index(folder))
    return index


def _without_index(folder: Path) -> str:
    """What a folder without a readable index is, as far as it can be told, and what to name."""
    above = folder.parent
    if folder.name in read_config(above / "model_index.json"):
        return f"'{folder.name}' is one part of a checkpoint: name its folder, '{above}'"
    files = _single_files(folder)
    if files:
        return f"'{folder}' holds files and no checkpoint folder: name one of them, '{files[0]}'"
    config = read_config(folder / "config.json")
    kind = config.get("_class_name") or next(iter(config.get("architectures") or ()), None)
    if kind:
        return (
            f"'{folder.name}' is a {clean(str(kind))} alone, and no checkpoint: name a folder with "
            "a model_index.json, whose parts (unet/, vae/, ...) are in it"
        )
    return (
        f"'{folder}' has no readable model_index.json: a base is a folder in "
        "diffusers' layout (model_index.json, unet/, vae/, ...) or one .safetensors file"
    )


def _single_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in SINGLE_FILES)
    except OSError:
        return []


def missing_parts(folder: Path, index: Mapping[str, Any]) -> set[str]:
    """Parts that the index names and that are not in the folder."""
    named = {
        part
        for part, kind in index.items()
        if isinstance(kind, list) and len(kind) == 2 and None not in kind
    }
    return {part for part in named if not (folder / part).is_dir()}


def read_config(path: Path) -> Mapping[str, Any]:
    """The object in a configuration file; empty if the file is absent or unreadable."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
