"""A message in both languages that can be an error's argument.

Owns only the pair. It is a `str` (the English one), so that an error that carries it still has its
message as its only argument.
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
    """The message in this language; None for a plain English text if Chinese is wanted."""
    if isinstance(message, Sentence):
        return finished(message.zh if language == "zh" else str(message), language)
    return finished(str(message), language) if language == "en" and message else None


def finished(text: str, language: Language) -> str:
    """The text with an initial capital letter and a full stop."""
    stop = "。" if language == "zh" else "."
    closed = text if text.endswith((".", "!", "?", "。", "！", "？")) else text + stop
    return closed[:1].upper() + closed[1:]
