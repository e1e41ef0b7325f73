"""The complete recipe of `models/watermark`, read from its recipe.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.training.errors import TrainingError


@dataclass(frozen=True)
class Fonts:
    """Debian packages of fonts; `chinese` are those that include Chinese characters."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    chinese: tuple[str, ...]


@dataclass(frozen=True)
class Logos:
    """Debian packages of icons."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class MarksRecipe:
    """The whole recipe; shares are of the photos, `false_alarms` of clean pictures."""

    seed: int
    steps: int
    batch: int
    crop: int
    learning_rate: float
    held_out_photos: float
    calibration_photos: float
    false_alarms: float
    fonts: Fonts
    logos: Logos


def read_recipe(path: Path) -> MarksRecipe:
    """Reads the recipe. Raises TrainingError if the file is missing, is not TOML, or lacks a
    field.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        fonts, logos = Fonts(**_tuples(content["fonts"])), Logos(**_tuples(content["logos"]))
        return MarksRecipe(**{**content, "fonts": fonts, "logos": logos})
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not a recipe for the watermark network: {error}") from error


def _tuples(section: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values) for key, values in section.items()}
