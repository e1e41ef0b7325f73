"""Reads a tensor's entry that the narrow pattern of header.py does not match, as the library does.

The library ignores fields that it does not know, and reads escapes in names of fields. Owns the
bounds within which such an entry is read. Knows nothing of the header around it.
"""

import json
import re
from math import isfinite
from typing import Any, NamedTuple, NoReturn

_MAX_ENTRY_BYTES = 4096
# serde_json nests no deeper than 128.
_MAX_BRACKETS = 64
_LARGEST = 2**63 - 1
_FIELDS = ("dtype", "shape", "data_offsets")
_DTYPE = re.compile(r"[A-Z0-9_]{1,16}")


class Entry(NamedTuple):
    """The fields of one tensor, and the number of bytes that they take."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    size: int


def read_entry(raw: bytes, at: int) -> Entry | None:
    """The entry that begins at `raw[at]`; None if the library could not read it either."""
    text = raw[at : at + _MAX_ENTRY_BYTES].decode("utf-8", "surrogateescape")
    try:
        fields, end = _DECODER.raw_decode(text)
        taken = text[:end].encode("utf-8")  # fails for bytes that are not UTF-8
        json.dumps(fields, ensure_ascii=False).encode("utf-8")  # fails for half of a surrogate pair
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or sum(map(taken.count, (b"[", b"{"))) > _MAX_BRACKETS:
        return None
    return _entry(fields, len(taken))


def _entry(fields: dict[str, Any], size: int) -> Entry | None:
    dtype, shape, offsets = (fields.get(key) for key in _FIELDS)
    sides, places = _sizes(shape), _sizes(offsets)
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        return None
    if sides is None or places is None or len(places) != 2:
        return None
    return Entry(dtype, sides, places[0], places[1], size)


def _sizes(value: Any) -> tuple[int, ...] | None:
    """A list of whole numbers from zero; None for anything else."""
    if not isinstance(value, list):
        return None
    is_sound = all(type(item) is int and 0 <= item <= _LARGEST for item in value)
    return tuple(value) if is_sound else None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = [key for key, _ in pairs if key in _FIELDS]
    if len(set(known)) < len(known):
        raise ValueError("a field stands twice")
    return dict(pairs)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _no_number(text)


def _whole(text: str) -> int | float:
    """A number without a fraction; the library reads -0 as one with a sign."""
    return -0.0 if text == "-0" else int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct,
    parse_constant=_no_number,
    parse_float=_finite,
    parse_int=_whole,
)
