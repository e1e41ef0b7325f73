"""A sentence in both languages that can be an error's message.

Owns nothing but the pair. It is a `str` (the English one), so that an error that carries it still
has its message as the only argument.
"""

from typing import Self

from shared.messages import Language


class Sentence(str):
    """English text that also knows its Chinese form."""

    zh: str

    def __new__(cls, en: str, zh: str) -> Self:
        made = super().__new__(cls, en)
        made.zh = zh
        return made


def spoken(message: object, language: Language) -> str | None:
    """The message in this language; None for a plain English text where Chinese is wanted."""
    if isinstance(message, Sentence):
        return message.zh if language == "zh" else str(message)
    return str(message) if language == "en" and message else None
