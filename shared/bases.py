"""The base families that a checkpoint or a LoRA can belong to, and how to tell a checkpoint's.

Owns the family names and their defaults. Reads configuration files only, never weights.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Base:
    """One family: its id, the name people know it by, and what suits it when a caller is silent."""

    id: str
    label: str
    guidance_scale: float
    cross_attention_width: int | None


TINY = Base("tiny", "retouch tiny", 1.0, 64)
SD15 = Base("sd15", "SD 1.5", 7.5, 768)
SD21 = Base("sd21", "SD 2.1", 7.5, 1024)
SDXL = Base("sdxl", "SDXL", 5.0, 2048)
SD3 = Base("sd3", "SD 3", 7.0, None)
FLUX = Base("flux", "FLUX", 3.5, None)
UNKNOWN = Base("unknown", "an unknown base", 7.5, None)

BASES: dict[str, Base] = {b.id: b for b in (TINY, SD15, SD21, SDXL, SD3, FLUX, UNKNOWN)}

# Words in a hub id or a pipeline's class name, most specific first.
_WORDS = (
    ("flux", FLUX),
    ("stable-diffusion-3", SD3),
    ("stablediffusion3", SD3),
    ("xl", SDXL),
    ("stable-diffusion-2", SD21),
    ("stable-diffusion-v1", SD15),
    ("v1-5", SD15),
)


def identify_base(base_model: str) -> Base:
    """The family of a checkpoint folder, by its configuration, or of a hub id, by its words."""
    folder = Path(base_model).expanduser()
    if folder.is_dir():
        return _by_config(folder)
    return _by_words(base_model)


def _by_config(folder: Path) -> Base:
    unet = _read(folder / "unet" / "config.json")
    width = unet.get("cross_attention_dim")
    for base in BASES.values():
        if width is not None and width == base.cross_attention_width:
            return base
    return _by_words(str(_read(folder / "model_index.json").get("_class_name", "")))


def _by_words(text: str) -> Base:
    lowered = text.lower()
    return next((base for word, base in _WORDS if word in lowered), UNKNOWN)


def _read(path: Path) -> dict[str, object]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
