"""The LoRAs that ship with this version, by the SHA-256 of their files.

Owns the list. `python -m worker.training.shipped` writes it after new weights. A file that somebody
puts into the folder under one of the names is not among them.
"""

import json
from functools import cache
from pathlib import Path

SHIPPED = Path(__file__).with_name("shipped.json")


def is_shipped(sha256: str | None) -> bool:
    """Whether this very file ships with the project."""
    return sha256 in _digests()


@cache
def _digests() -> frozenset[str]:
    names: dict[str, str] = json.loads(SHIPPED.read_text("utf-8"))
    return frozenset(names.values())
