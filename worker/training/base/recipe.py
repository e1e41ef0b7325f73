"""The complete recipe of `models/tiny`, read from its recipe.toml.

Owns the fields. The numbers are in the file, beside the weights made with them.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.training.errors import TrainingError


@dataclass(frozen=True)
class Photos:
    """Debian packages to download, and the photos in them that are used."""

    packages: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True)
class DecoderRecipe:
    """How the autoencoder's decoder is trained; `noise` is added to raw latents."""

    width: int
    blocks: tuple[int, int]
    steps: int
    batch: int
    crop: int
    learning_rate: float
    damaged_share: float
    noise: float


@dataclass(frozen=True)
class UnetRecipe:
    """How the UNet is trained to restore, at one noise level, before its output is made neutral.

    Normalisation hides the scale of its input, so only `weight_decay` keeps the layers before it
    from growing until LoRAs can change nothing.
    """

    widths: tuple[int, ...]
    norm_epsilon: float
    latent_scale: float
    steps: int
    batch: int
    crop: int
    learning_rate: float
    weight_decay: float
    constant_share: float
    later_step_share: float
    prompted_share: float
    served_timestep: int
    most_noise: float
    neutral_batches: int
    start_rank: int


@dataclass(frozen=True)
class BaseRecipe:
    """The whole recipe. `prompts` has a list per kind of damage, and one, `none`, for the rest."""

    seed: int
    photos: Photos
    decoder: DecoderRecipe
    unet: UnetRecipe
    words: tuple[str, ...]
    prompts: dict[str, tuple[str, ...]]


def read_recipe(path: Path) -> BaseRecipe:
    """Reads the recipe. Raises TrainingError if the file is missing, is not TOML, or lacks a
    field.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return BaseRecipe(
            seed=content["seed"],
            photos=Photos(**_tuples(content["photos"])),
            decoder=DecoderRecipe(**_tuples(content["decoder"])),
            unet=UnetRecipe(**_tuples(content["unet"])),
            words=tuple(content["words"]),
            prompts={kind: tuple(texts) for kind, texts in content["prompts"].items()},
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not a recipe for a base: {error}") from error


def _tuples(section: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in section.items()}
