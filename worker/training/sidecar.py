"""Writes the `name.toml` beside a trained LoRA, which tells the service how to offer it.

Owns the wording of a fresh sidecar. What it may contain is shared/loras/sidecar.py's business.
"""

import json
from pathlib import Path

from worker.training.recipe import Recipe

# Sources that lack detail keep what they have; those whose detail is damage keep colours only.
_FIDELITY = {
    "blur": "residual",
    "lowres": "residual",
    "noise": "low",
    "jpeg": "low",
    "phone": "low",
}


def write_sidecar(path: Path, recipe: Recipe) -> None:
    """Write a sidecar unless somebody has written one already."""
    if path.exists():
        return
    fields: list[tuple[str, object]] = [
        ("title", {"en": recipe.name, "zh": recipe.name}),
        ("default_scale", 1.0),
        ("strength", recipe.strength),
    ]
    if recipe.graded:
        fields.append(("steps", 1))
    if recipe.task == "restore":
        fields.append(("treats", list(recipe.treats)))
        fields.append(("fidelity", fidelity_for(recipe.treats)))
    if recipe.prompts[0]:
        fields.append(("prompt", recipe.prompts[0]))
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in fields), "utf-8")


def fidelity_for(treats: tuple[str, ...]) -> str:
    """`residual` where every treated damage is a lack of detail, else `low`."""
    wanted = {_FIDELITY[kind] for kind in treats}
    return "residual" if wanted == {"residual"} else "low"


def _toml(value: object) -> str:
    """Strings, numbers, lists and one flat table; JSON's escapes are TOML's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
