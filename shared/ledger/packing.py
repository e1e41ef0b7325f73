"""A finished job's fields as one short text: most records are never read again, all take memory.

Owns the form: zlib, with a typical record as its dictionary. What may still change after a job's
end stays beside it (see lua/pack.lua).
"""

import base64
import json
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

PACKED = "packed"
LAST_EVENT = "last_event"
# A packed text begins with its dictionary's number. A dictionary that changes gets a new number and
# a file of its own; older ones are needed for reading.
NEWEST = "1"
PARSED = frozenset({"spec", "params", "result", "preview", "progress", "timings", "degraded"})


def pack(fields: Mapping[str, str]) -> str:
    """The fields of a job's hash, compressed."""
    parsed = {name: _parsed(name, text) for name, text in fields.items()}
    # The parameters as they were asked for; the settled ones are in a field of their own.
    parsed["spec"] = {**parsed["spec"], "params": {}}
    text = json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))
    squeezer = zlib.compressobj(level=9, zdict=_dictionary(NEWEST))
    squeezed = squeezer.compress(text.encode()) + squeezer.flush()
    return NEWEST + base64.b85encode(squeezed).decode()


def unpack(fields: Mapping[str, str]) -> Mapping[str, str]:
    """The fields of a job's hash, whether it is packed or not. Raises ValueError."""
    if PACKED not in fields:
        return fields
    number, text = fields[PACKED][:1], fields[PACKED][1:]
    try:
        opener = zlib.decompressobj(zdict=_dictionary(number))
        kept: dict[str, Any] = json.loads(opener.decompress(base64.b85decode(text)))
    except (FileNotFoundError, zlib.error) as error:
        raise ValueError("a packed record cannot be read") from error
    return {name: _text(value) for name, value in kept.items()} | dict(fields)


def _parsed(name: str, text: str) -> Any:
    return json.loads(text) if name in PARSED and text else text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@cache
def _dictionary(number: str) -> bytes:
    folder = files("shared.ledger").joinpath("typical_jobs")
    return folder.joinpath(f"{number}.json").read_bytes()
