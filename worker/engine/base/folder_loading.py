"""Loads a checkpoint folder in diffusers' layout, whatever it contains, and downloads from the hub.

Owns which weights are read: full precision before half, safetensors before pickles (which torch
then reads without running code), GGUF in place of a transformer's weights, and which parts of the
index may be absent.
"""

from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.folder import DISPENSABLE, missing_parts, read_index
from shared.checkpoints.gguf import PART, gguf_files
from worker.engine.base.gguf_loading import load_gguf

# The parts with a pipeline's main weights; every family has one of them.
_MAIN_PARTS = ("unet", "transformer", "prior")


def load_folder(folder: Path, kind: Any, options: dict[str, Any]) -> Any:
    """A pipeline of the class `kind`, or of the class in the index if `kind` does not support it.

    Raises BadCheckpoint.
    """
    absent = missing_parts(folder, read_index(folder)) & DISPENSABLE
    options = options | dict.fromkeys(absent) | weights_options(folder)
    for file in gguf_files(folder):
        options[PART] = load_gguf(folder, file, options["dtype"])
    try:
        return _load(folder, kind, options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadCheckpoint(f"'{folder.name}' cannot be loaded: {error}") from error


def _load(folder: Path, kind: Any, options: dict[str, Any]) -> Any:
    try:
        return kind.from_pretrained(folder, **options)
    except ValueError as error:
        # Pipelines that edit pictures are not among those that diffusers maps to image-to-image.
        if "AutoPipeline can't find" not in str(error):
            raise
        return DiffusionPipeline.from_pretrained(folder, **options)


def weights_options(folder: Path) -> dict[str, Any]:
    """The options that tell diffusers which of a folder's weights to read. Raises BadCheckpoint."""
    parts = ("vae",) if gguf_files(folder) else _MAIN_PARTS
    main = next((folder / part for part in parts if (folder / part).is_dir()), None)
    if main is None:
        raise BadCheckpoint(f"'{folder.name}' has no folder of weights ({', '.join(parts)})")
    # Without the option the libraries use whichever weights exist, separately for each part.
    choices: dict[str, dict[str, Any]] = {".safetensors": {"use_safetensors": True}, ".bin": {}}
    for suffix, options in choices.items():
        names = [path.name for path in main.iterdir() if path.name.endswith(suffix)]
        if names:
            variant = _variant(names, suffix)
            return options | ({"variant": variant} if variant else {})
    raise BadCheckpoint(
        f"'{folder.name}' has no weights in {main.name}/: download it again, with its .safetensors "
        "files"
    )


def _variant(names: list[str], suffix: str) -> str | None:
    """The variant (such as fp16) if there are no plain weights."""
    stems = [name.removesuffix(suffix) for name in names]
    variants = [stem.partition(".")[2].split("-0")[0] for stem in stems]
    return None if "" in variants else sorted(variants)[0]


def download(hub_id: str) -> Path:
    """Downloads a hub id into the hub's cache; returns its snapshot's folder. Raises
    BadCheckpoint.
    """
    try:
        return Path(DiffusionPipeline.download(hub_id))
    except Exception as error:  # the hub's client raises errors of several libraries
        raise BadCheckpoint(
            f"'{hub_id}' is not on this machine and cannot be downloaded from the hub ({error}). "
            f"On a machine with a network: retouch models pull {hub_id}"
        ) from error
