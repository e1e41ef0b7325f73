"""Defaults for values that a caller left out: the LoRA's toml first, then what a few-step LoRA
needs, then the base's.

Used by the gateway for named LoRAs, and by the worker once it has chosen LoRAs itself.
"""

from collections.abc import Mapping, Sequence

from shared.bases import Base
from shared.loras.entry import LoraEntry
from shared.params import (
    DEFAULT_PROMPT,
    DEFAULT_SAMPLER,
    DEFAULT_STEPS,
    DEFAULT_STRENGTH,
    DEFAULT_TIMESTEP,
    MAX_PROMPT,
    Fidelity,
    JobParams,
)
from shared.sampler_reason import explain_no_choice, explain_sampler

# The settings that published one-step models use: the whole change, in the photo's colours.
_ONCE: dict[str, object] = {
    "strength": 1.0,
    "guidance_scale": 1.0,
    "timestep": DEFAULT_TIMESTEP,
    "fidelity": "wavelet",
}


def with_defaults(params: JobParams, entries: Sequence[LoraEntry], base: Base) -> JobParams:
    """Returns the parameters with every missing value filled in except the seed."""
    filled = params.model_copy(update=_missing(params, entries, base))
    filled = filled.model_copy(update=_explained(filled, entries, base))
    if not params.trigger_words:
        return filled
    return filled.model_copy(update={"prompt": _triggered(filled.prompt or "", entries)})


def _missing(params: JobParams, entries: Sequence[LoraEntry], base: Base) -> dict[str, object]:
    usual = _usual(entries, base)
    sampler = params.sampler or _suggested("sampler", entries, usual["sampler"])
    takes_one_step = sampler == "once" and base.has_unet
    if takes_one_step:
        usual |= _ONCE
    gaps = {
        name: _suggested(name, entries, value)
        for name, value in usual.items()
        if getattr(params, name) is None
    }
    return gaps | {"steps": 1} if takes_one_step else gaps


def _usual(entries: Sequence[LoraEntry], base: Base) -> dict[str, object]:
    return {
        "strength": base.strength or DEFAULT_STRENGTH,
        "steps": base.steps or DEFAULT_STEPS,
        "guidance_scale": base.guidance_scale,
        "sampler": (base.sampler or DEFAULT_SAMPLER) if base.has_unet else None,
        "prompt": DEFAULT_PROMPT if base.prompt is None else base.prompt,
        "negative_prompt": base.negative_prompt or "",
        "fidelity": _plain_fidelity(entries),
        "pyramid": 1,
    }


def _explained(filled: JobParams, entries: Sequence[LoraEntry], base: Base) -> Mapping[str, object]:
    """The reason for the sampler; a base with a sampler of its own supports no other."""
    if not base.has_unet:
        return {"sampler": None, **explain_no_choice(filled.sampler)}
    return explain_sampler(entries, filled.sampler) if filled.sampler_reason is None else {}


def _triggered(prompt: str, entries: Sequence[LoraEntry]) -> str:
    """The prompt followed by those trigger words of the LoRAs that are missing and fit."""
    for word in (word for entry in entries for word in entry.trigger_words):
        longer = f"{prompt}, {word}" if prompt else word
        if word.lower() not in prompt.lower() and len(longer) <= MAX_PROMPT:
            prompt = longer
    return prompt


def _plain_fidelity(entries: Sequence[LoraEntry]) -> Fidelity:
    """Without a value in the LoRA, the LoRA's output is used as it is; the base alone returns its
    input.
    """
    return "none" if entries else "residual"


def _suggested(name: str, entries: Sequence[LoraEntry], usual: object) -> object:
    """The settings file of the first LoRA that has one, or else the needs of a few-step LoRA. An
    empty prompt counts as a value.
    """
    sources = (*entries, *(entry.few_steps for entry in entries))
    said = (getattr(source, name, None) for source in sources)
    return next((value for value in said if value is not None), usual)
