"""Defaults for values that a caller left out: the LoRA's own first, then the base's.

Used by the gateway for named LoRAs, and by the worker once it has chosen LoRAs itself.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from shared.bases import Base
from shared.loras.entry import LoraEntry
from shared.params import (
    DEFAULT_PROMPT,
    DEFAULT_STEPS,
    DEFAULT_STRENGTH,
    MAX_PROMPT,
    Fidelity,
    JobParams,
)

Value = TypeVar("Value")


def with_defaults(params: JobParams, entries: Sequence[LoraEntry], base: Base) -> JobParams:
    """Returns the parameters with every missing value filled in except the seed."""
    suggested = {
        "strength": _first(entry.strength for entry in entries) or DEFAULT_STRENGTH,
        "steps": _first(entry.steps for entry in entries) or DEFAULT_STEPS,
        "guidance_scale": base.guidance_scale,
        "prompt": _first(entry.prompt for entry in entries) or DEFAULT_PROMPT,
        "negative_prompt": _first(entry.negative_prompt for entry in entries) or "",
        "fidelity": _first(entry.fidelity for entry in entries) or _plain_fidelity(entries),
    }
    gaps = {name: value for name, value in suggested.items() if getattr(params, name) is None}
    filled = params.model_copy(update=gaps)
    if not params.trigger_words:
        return filled
    return filled.model_copy(update={"prompt": _triggered(filled.prompt or "", entries)})


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


def _first(values: Iterable[Value | None]) -> Value | None:
    return next((value for value in values if value is not None), None)
