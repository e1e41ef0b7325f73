"""The complete recipe of the embedded enlarger, read from its recipe.toml.

Owns the fields. The numbers are in the file, beside the weights made with them.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from worker.training.errors import TrainingError


@dataclass(frozen=True)
class Shape:
    """The network: width and blocks of its trunk, width at the photo's own size."""

    width: int
    blocks: int
    fine: int


@dataclass(frozen=True)
class Teaching:
    """The number of crops for the teacher, of `side` pixels, and the teacher's name in the card."""

    crops: int
    side: int


@dataclass(frozen=True)
class Treated:
    """The number of photos to damage and treat, and their side in pixels before enlargement."""

    pictures: int
    side: int


@dataclass(frozen=True)
class Stage:
    """One run, starting from the weights of the last one.

    `teacher_share` is the share of each batch whose target is the teacher's output, `treated_share`
    that of photos which LoRAs have treated; `edges`, `fine` and `adversarial` are weights beside
    the absolute error.
    """

    name: str
    steps: int
    batch: int
    crop: int
    learning_rate: float
    constant_share: float
    teacher_share: float
    edges: float
    fine: float
    adversarial: float
    treated_share: float = 0.0


@dataclass(frozen=True)
class UpscalerRecipe:
    """The whole recipe; its photos are those of the embedded base."""

    seed: int
    shape: Shape
    teaching: Teaching
    treated: Treated
    stages: tuple[Stage, ...]


def read_recipe(path: Path) -> UpscalerRecipe:
    """Reads the recipe. Raises TrainingError if the file is missing, is not TOML, or lacks a
    field.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return UpscalerRecipe(
            seed=content["seed"],
            shape=Shape(**content["shape"]),
            teaching=Teaching(**content["teaching"]),
            treated=Treated(**content["treated"]),
            stages=tuple(Stage(**stage) for stage in content["stages"]),
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not a recipe for an enlarger: {error}") from error
