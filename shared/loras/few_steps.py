"""LoRAs that were distilled for few steps: recognises their family and knows its needs.

Owns the families' names and settings, which are those of the model cards that they were published
with. Guidance is built into such a LoRA; a sampler for many steps makes its pictures blurred or
burnt.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from shared.params import Fidelity, Prediction, Sampler

MOST_STEPS = 50


class FewSteps(BaseModel):
    """The name and the needs of such a LoRA; None for values left to the base. `has_parts` is
    whether it has a part for fidelity and one for detail, each with a scale.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    sampler: Sampler | None
    guidance_scale: float | None
    steps: int
    timestep: int | None = None
    prediction: Prediction | None = None
    prompt: str | None = None
    fidelity: Fidelity | None = None
    has_parts: bool = False

    @property
    def needs(self) -> str:
        """The settings in words."""
        guidance = None if self.guidance_scale is None else f"guidance {self.guidance_scale:g}"
        steps = f"{self.steps} steps" if self.steps > 1 else "1 step"
        timestep = None if self.timestep is None else f"timestep {self.timestep}"
        return ", ".join(filter(None, (self.sampler, steps, guidance, timestep)))


class _Family(NamedTuple):
    label: str
    pattern: re.Pattern[str]
    sampler: Sampler
    steps: int
    is_plain_word: bool = False


def _word(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{text})(?![a-z])")


_FAMILIES = (
    _Family("LCM", _word("lcm|lcm-?lora"), "lcm", 8),
    _Family("TCD", _word("tcd|tcd-?lora"), "tcd", 8),
    _Family("DMD2", _word("dmd2?"), "lcm", 4),
    # Words with other meanings too: they need a second indication.
    _Family("Hyper", re.compile(r"(?<![a-z])hyper"), "euler", 8, is_plain_word=True),
    _Family("Lightning", re.compile("lightning"), "euler", 4, is_plain_word=True),
    _Family("Turbo", re.compile("turbo"), "euler", 4, is_plain_word=True),
)
_STEPS = re.compile(r"(?<![a-z0-9])(\d{1,2})[-_ ]?steps?(?![a-z])")
_SIGN = re.compile(
    r"(?<![a-z])(?:sd|sd[-_]?xl|xl|sd[-_. ]?[123](?:[-_.]?[0-9])?|flux(?:[-_.]?1)?(?:[-_]dev)?)"
    r"[-_. ]*(?:v?1[-_.]?0[-_. ]*)?(?:turbo|lightning)"
    r"|(?<![a-z])hyper[-_ ]?(?:sd|xl|flux)|turbo[-_ ]?alpha"
)
_WITH_GUIDANCE = _word("cfg")


def recognise(names: Iterable[str], *, covers_whole_unet: bool, has_unet: bool) -> FewSteps | None:
    """The family named by one of a LoRA's names (its own with folders, its titles). A word such as
    `lightning` counts only with a number of steps or a base beside it, or if every kind of layer is
    changed. A transformer has its own sampler and guidance, so only the steps are returned.
    """
    found = (_recognise(name.lower(), covers_whole_unet) for name in names)
    few = next((each for each in found if each is not None), None)
    if few is None or has_unet:
        return few
    return few.model_copy(update={"sampler": None, "guidance_scale": None})


def _recognise(name: str, covers_whole_unet: bool) -> FewSteps | None:
    has_sign = covers_whole_unet or bool(_STEPS.search(name) or _SIGN.search(name))
    for family in _FAMILIES:
        if family.pattern.search(name) and (has_sign or not family.is_plain_word):
            return _settings(family, name)
    return None


def _settings(family: _Family, name: str) -> FewSteps:
    said = _STEPS.search(name)
    steps = int(said[1]) if said and 1 <= int(said[1]) <= MOST_STEPS else family.steps
    is_hyper = family.label == "Hyper"
    guidance = None if is_hyper and _WITH_GUIDANCE.search(name) else 1.0
    # Hyper-SD's one-step LoRA is a trajectory consistency LoRA, for any number of steps.
    sampler = "tcd" if is_hyper and steps == 1 else family.sampler
    return FewSteps(label=family.label, sampler=sampler, guidance_scale=guidance, steps=steps)
