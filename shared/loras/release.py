"""Releases: files that a person has examined and released, by sha256.

`loras.lock.toml` in the LoRA folder has one table, `[released]`, of `"<sha256>" = "why, by whom"`.
Knows nothing of the files or of the reasons for their quarantine.
"""

import tomllib
from pathlib import Path

import structlog

LOCK_NAME = "loras.lock.toml"
_MAX_BYTES = 1 << 20

_log = structlog.get_logger(__name__)


def read_releases(folder: Path) -> dict[str, str]:
    """The note for each released sha256; empty, with a log line, if the file is unreadable."""
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
