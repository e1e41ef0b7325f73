"""Settings that are lists, with one grammar.

A comma or a line break ends an entry, and so does a space if entries cannot contain one. Spaces
around an entry are ignored, and so are empty entries.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def entries(value: object) -> object:
    """Entries that may contain spaces. Values that are not text are unchanged."""
    return _parts(value, r"[,\r\n]") if isinstance(value, str) else value


def words(value: object) -> object:
    """Entries without spaces."""
    return _parts(value, r"[,\s]") if isinstance(value, str) else value


def folders(value: object) -> object:
    """Folders, also separated as in PATH. The name of an existing folder is never split."""
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
