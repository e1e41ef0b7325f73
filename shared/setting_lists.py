"""Settings that are lists, in one grammar.

A comma or a line break ends an entry, and so does a space where no entry can hold one. Spaces
around an entry do not count, nor do empty entries.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def entries(value: object) -> object:
    """Entries that may hold spaces. What is no text is left as it is."""
    return _parts(value, r"[,\r\n]") if isinstance(value, str) else value


def words(value: object) -> object:
    """Entries without spaces."""
    return _parts(value, r"[,\s]") if isinstance(value, str) else value


def folders(value: object) -> object:
    """Folders, also with the separator of PATH between them. One that is there is never split,
    whatever its name.
    """
    if isinstance(value, Path):
        return (value,)
    if not isinstance(value, str):
        return value
    whole = value.strip()
    parts = [whole] if whole and Path(whole).is_dir() else _parts(whole, f"[,\r\n{os.pathsep}]")
    return tuple(Path(part).expanduser() for part in parts)


def _parts(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in re.split(separator, text) if part.strip())


Entries = Annotated[tuple[str, ...], NoDecode, BeforeValidator(entries)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(words)]
Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(folders)]
