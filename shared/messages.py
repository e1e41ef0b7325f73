"""The messages for people: for every error code and stage, in English and Chinese.

Owns the texts only. The API, the page, the command line and webhooks all take them from here.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@cache
def _catalogue() -> dict[str, dict[str, dict[str, str]]]:
    text = files("shared").joinpath("messages.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, dict[str, str]]] = json.loads(text)
    return loaded


def title(code: str, language: Language = "en") -> str:
    """What happened, in one sentence."""
    return _catalogue()["errors"][code][f"title_{language}"]


def advice(code: str, language: Language = "en") -> str:
    """What the reader can do next."""
    return _catalogue()["errors"][code][f"advice_{language}"]


def stage_message(stage: str, language: Language = "en") -> str:
    """What a job is doing in this stage (or state), for the label of a progress bar."""
    return _of("stages", stage)[language]


def unserved_message(base: str, language: Language = "en") -> str:
    """That a job waits for a base which no worker serves."""
    return _of("stages", "unserved")[language].format(base=base)


def degraded_message(code: str, language: Language = "en") -> str:
    """What was given up to fit the device."""
    return _of("degraded", code)[language]


def warning_message(code: str, language: Language = "en") -> str:
    """A change made to an upload that its sender may want to know about."""
    return _of("warnings", code)[language]


def flag_message(code: str, language: Language = "en") -> str:
    """What a guard suspects of a picture that is shown."""
    return _of("flags", code)[language]


def webhook_message(code: str, language: Language = "en") -> str:
    """Why a webhook was not delivered."""
    return _of("webhooks", code)[language]


def _of(part: str, code: str) -> dict[str, str]:
    """The message of a code; an unknown code, from a later version, is shown itself."""
    return _catalogue()[part].get(code, dict.fromkeys(LANGUAGES, code))


def choose_language(accept_language: str | None) -> Language:
    """The first of our languages in an `Accept-Language` header; English if there is none."""
    weighted = []
    for position, part in enumerate((accept_language or "").split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        weighted.append((-_weight(weight), position, tag.lower()))
    for negative_weight, _, tag in sorted(weighted):
        for language in LANGUAGES:
            if negative_weight < 0 and tag.split("-")[0] == language:
                return language
    return "en"


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
