"""`<lora:NAME:0.8>` in a prompt, the syntax of AUTOMATIC1111 and similar programs.

Several numbers may follow: the first is for the text encoder, the second for the UNet, or they are
named (`te=0.5:unet=0.8`). Here a LoRA has one scale, that of the UNet. Does not know which LoRAs
exist.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TAG = re.compile(r"<(?:lora|lyco|locon):([^<>:]{1,200})((?::[^<>:]{0,32}){0,4})>", re.IGNORECASE)
_GAPS = re.compile(r"\s*,(?:\s*,)+")


class Tag(NamedTuple):
    """A LoRA named in a prompt; without a scale, the LoRA's own applies."""

    name: str
    scale: float | None


def take_tags(prompt: str) -> tuple[str, list[Tag]]:
    """The prompt without its tags, and the tags, each name once."""
    if "<" not in prompt:
        return prompt, []
    tags = [Tag(match[1].strip(), _scale(match[2])) for match in _TAG.finditer(prompt)]
    if not tags:
        return prompt, []
    rest = _GAPS.sub(",", _TAG.sub("", prompt))
    return " ".join(rest.split()).strip(" ,"), list({tag.name: tag for tag in tags}.values())


def _scale(text: str) -> float | None:
    weights = list(_weights(text))
    named = dict(weights)
    numbers = [value for _, value in weights]
    return named.get("unet", numbers[1] if len(numbers) > 1 else next(iter(numbers), None))


def _weights(text: str) -> Iterator[tuple[str, float]]:
    for part in text.split(":")[1:]:
        name, _, number = part.rpartition("=")
        try:
            yield name.strip().lower(), float(number)
        except ValueError:
            continue
