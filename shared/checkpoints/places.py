"""Finds a checkpoint on this machine: a folder, one file, or a snapshot in the hub's cache.

The cache's layout is that of huggingface_hub: `models--OWNER--NAME/refs/main` names the snapshot
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
"""

import os
import re
from pathlib import Path

from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.formats import KNOWN_FILES, check_format

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")


def is_hub_id(base_model: str) -> bool:
    """Whether the text has the form OWNER/NAME of a model on the hub."""
    return bool(_HUB_ID.fullmatch(base_model)) and not base_model.lower().endswith(KNOWN_FILES)


def find_checkpoint(base_model: str) -> Path | None:
    """The checkpoint's folder or file; None for a hub id that is not in the cache.

    Raises BadCheckpoint if the text names neither a folder, a checkpoint file nor a hub id.
    """
    place = Path(base_model).expanduser()
    if place.is_dir():
        return place
    if place.is_file():
        check_format(place)
        return place
    if is_hub_id(base_model):
        return cached_snapshot(base_model)
    raise BadCheckpoint(
        f"there is no '{base_model}': name a folder in diffusers' layout, one .safetensors file, "
        "or a hub id such as stable-diffusion-v1-5/stable-diffusion-v1-5"
    )


def hub_cache() -> Path:
    """The folder in which huggingface_hub stores its downloads."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def cached_snapshot(hub_id: str) -> Path | None:
    """The newest snapshot of a hub id that was downloaded with its index, or None."""
    kept = hub_cache() / f"models--{hub_id.replace('/', '--')}"
    for commit in (_read(kept / "refs" / "main"), *_newest_first(kept / "snapshots")):
        snapshot = kept / "snapshots" / commit
        if commit and (snapshot / "model_index.json").is_file():
            return snapshot
    return None


def _newest_first(snapshots: Path) -> list[str]:
    if not snapshots.is_dir():
        return []
    found = sorted(snapshots.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.name for path in found]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
