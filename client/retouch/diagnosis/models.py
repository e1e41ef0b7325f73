"""The base checkpoint and the LoRA folder."""

import re

from retouch.diagnosis.finding import Finding
from shared.settings import Settings


def base(settings: Settings) -> Finding:
    folder, name = settings.base_folder, settings.base_model
    if folder and (folder / "model_index.json").is_file():
        return Finding("base model", "ok", str(folder))
    if folder is None and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        mend = "The first start downloads it; a folder in RETOUCH_BASE_MODEL needs no network."
        return Finding("base model", "warning", f"{name} comes from the Hugging Face hub", mend)
    mend = "Set RETOUCH_BASE_MODEL to a folder in diffusers' layout, or to a hub id."
    return Finding("base model", "missing", f"no model_index.json in {name}", mend)


def loras(settings: Settings) -> Finding:
    folder = settings.loras_dir.expanduser()
    count = len(list(folder.glob("*.safetensors"))) if folder.is_dir() else 0
    if count:
        return Finding("LoRAs", "ok", f"{count} {'file' if count == 1 else 'files'} in {folder}")
    mend = "The base alone will be used; loras/README.md tells how to add one."
    return Finding("LoRAs", "warning", f"no .safetensors file in {folder}", mend)
