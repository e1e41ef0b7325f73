"""Writes the `name.toml` beside a trained LoRA, which tells the service how to offer it.

Owns the text of a new sidecar. shared/loras/sidecar.py defines what it may contain.
"""

import json
from pathlib import Path

from shared.params import Fidelity
from worker.training.recipe import LESSON_SHARE, Recipe

# Sources that lack detail keep their detail; those whose detail is damage keep only their colours.
_FIDELITY = {
    "blur": "residual",
    "lowres": "residual",
    "noise": "low",
    "jpeg": "low",
    "phone": "low",
}


# A LoRA for one prediction makes the whole picture anew, in its photo's colours.
ONCE_FIDELITY: Fidelity = "wavelet"


def write_sidecar(path: Path, recipe: Recipe) -> None:
    """Writes a sidecar unless one exists already."""
    if path.exists():
        return
    fields: list[tuple[str, object]] = [
        ("title", {"en": recipe.name, "zh": recipe.name}),
        ("default_scale", 1.0),
        ("strength", recipe.strength),
    ]
    if recipe.graded:
        fields.append(("steps", 1))
    if recipe.lessons:
        fields.append(("shrink", LESSON_SHARE))
    if recipe.once:
        fields += [("sampler", "once"), ("timestep", recipe.timestep), ("guidance_scale", 1.0)]
    if recipe.task == "restore":
        fields.append(("treats", list(recipe.treats)))
        fidelity = ONCE_FIDELITY if recipe.once else fidelity_for(recipe.treats)
        fields.append(("fidelity", fidelity))
    if recipe.prompts[0] or recipe.once:
        fields.append(("prompt", recipe.prompts[0]))
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in fields), "utf-8")


def fidelity_for(treats: tuple[str, ...]) -> str:
    """`residual` if every treated damage is a lack of detail, otherwise `low`."""
    wanted = {_FIDELITY[kind] for kind in treats}
    return "residual" if wanted == {"residual"} else "low"


def _toml(value: object) -> str:
    """Strings, numbers, lists and one flat table; JSON's escapes are TOML's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
