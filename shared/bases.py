"""The base families of checkpoints and LoRAs, how to identify a checkpoint's family, and its name.

Owns the family names and their defaults. shared/checkpoints reads the facts of a checkpoint.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from shared.checkpoints.facts import BadCheckpoint, CheckpointFacts
from shared.checkpoints.folder import SINGLE_FILES
from shared.checkpoints.judgement import read_facts
from shared.checkpoints.places import find_checkpoint
from shared.params import Sampler


@dataclass(frozen=True)
class Base:
    """One family: its id, its usual name, and its defaults for values that a caller leaves out;
    None where those of all families count. A checkpoint's own come from shared/base_defaults.py.
    """

    id: str
    label: str
    guidance_scale: float
    cross_attention_width: int | None
    steps: int | None = None
    strength: float | None = None
    sampler: Sampler | None = None
    prompt: str | None = None
    negative_prompt: str | None = None

    @property
    def has_unet(self) -> bool:
        """Whether its sampler can be chosen; transformers have their own."""
        return self.cross_attention_width is not None


TINY = Base("tiny", "retouch tiny", 1.0, 64)
SD15 = Base("sd15", "SD 1.5", 7.5, 768)
SD21 = Base("sd21", "SD 2.1", 7.5, 1024)
SDXL = Base("sdxl", "SDXL", 5.0, 2048)
SD3 = Base("sd3", "SD 3", 7.0, None)
FLUX = Base("flux", "FLUX", 3.5, None)
UNKNOWN = Base("unknown", "an unknown base", 7.5, None)

BASES: dict[str, Base] = {b.id: b for b in (TINY, SD15, SD21, SDXL, SD3, FLUX, UNKNOWN)}

# A name is part of keys, labels and addresses.
_UNNAMEABLE = re.compile(r"[^\w.-]+")
MAX_CHECKPOINT_CHARACTERS = 80

# Words in a hub id or a pipeline's class name, most specific first.
_WORDS = (
    ("flux", FLUX),
    ("stable-diffusion-3", SD3),
    ("stablediffusion3", SD3),
    ("xl", SDXL),
    ("stable-diffusion-2", SD21),
    ("sd-turbo", SD21),
    ("stable-diffusion-v1", SD15),
    ("v1-5", SD15),
)


def identify_base(base_model: str) -> Base:
    """The family of a folder, a file or a cached hub id by its facts, or else by words in the
    id.
    """
    try:
        place = find_checkpoint(base_model)
        return identify_place(place) if place is not None else _by_words(base_model)
    except BadCheckpoint:
        return UNKNOWN


def name_base(family: str, base_model: str) -> str:
    """The name of a base in a fleet: `family/checkpoint`, such as `sd15/dreamshaper-8`.

    A checkpoint that is called as its family, such as the embedded one, is named by that alone.
    """
    place = Path.cwd() / Path(base_model).expanduser()
    stem = place.stem if place.suffix.lower() in SINGLE_FILES else place.name
    plain = _UNNAMEABLE.sub("-", unicodedata.normalize("NFC", stem))
    checkpoint = plain.strip("-.")[:MAX_CHECKPOINT_CHARACTERS]
    return family if checkpoint in ("", family) else f"{family}/{checkpoint}"


def family_of_name(name: str) -> Base:
    """The family of a base by its name; UNKNOWN for one that a later version has added."""
    return BASES.get(name.partition("/")[0], UNKNOWN)


def identify_place(place: Path) -> Base:
    """The family of a checkpoint's folder or file. Raises BadCheckpoint."""
    return family_of(read_facts(place))


def family_of(facts: CheckpointFacts) -> Base:
    """The family for a UNet's width, or else for the pipeline's class."""
    width = facts.cross_attention_width
    if width is not None:
        known = (base for base in BASES.values() if base.cross_attention_width == width)
        return next(known, _by_words(facts.pipeline))
    return _by_words(facts.pipeline)


def _by_words(text: str) -> Base:
    lowered = text.lower()
    return next((base for word, base in _WORDS if word in lowered), UNKNOWN)
