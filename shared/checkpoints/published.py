"""The published configurations of the known families' checkpoints, for bases without their own."""

import json
from importlib.resources import files
from typing import Any

Config = dict[str, Any]
FAMILIES = frozenset({"sd15", "sd21", "sdxl"})


def published_configs(family: str) -> dict[str, Config]:
    """Each part's configuration by its folder's name, as a copy for the caller; `model_index` is
    the pipeline's. Raises FileNotFoundError for an unknown family.
    """
    text = files("shared.checkpoints").joinpath("published", f"{family}.json").read_text("utf-8")
    loaded: dict[str, Config] = json.loads(text)
    return loaded
