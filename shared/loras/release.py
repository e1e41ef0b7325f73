"""Releases: the files that a person has looked at and lets through, by sha256.

`loras.lock.toml` in the LoRA folder has one table, `[released]`, of `"<sha256>" = "why, by whom"`.
Knows nothing of what was released or why it was held.
"""

import tomllib
from pathlib import Path

import structlog

LOCK_NAME = "loras.lock.toml"
_MAX_BYTES = 1 << 20

_log = structlog.get_logger(__name__)


def read_releases(folder: Path) -> dict[str, str]:
    """The note for each released sha256; empty, and logged, when the file is unreadable."""
    try:
        raw = (folder / LOCK_NAME).read_bytes()[:_MAX_BYTES]
        table = tomllib.loads(raw.decode("utf-8")).get("released", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("loras_lock_unreadable", folder=str(folder), error=str(error))
        return {}
    if not isinstance(table, dict):
        return {}
    return {str(sha256).lower(): str(note) for sha256, note in table.items()}
