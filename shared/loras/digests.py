"""Digests that are kept across restarts, so that a restart does not read every file again.

Owns one JSON file in the service's data folder. A digest is found by inode, size and both times of
a file; the change time cannot be set back, so a file with other bytes never matches. The device is
left out because its number changes when a disk is mounted again.
"""

import json
import os
from pathlib import Path
from typing import BinaryIO

import structlog

from shared.loras.body import Body, read_body
from shared.loras.files import FileKey
from shared.loras.header import Tensor

_log = structlog.get_logger(__name__)


class DigestCache:
    """Bodies by file; kept in memory, and in a file if one is given. Call from one thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, tuple[str, int | None]] = _load(path) if path else {}
        self._used: set[str] = set()
        self._dirty = False

    def read(self, file: BinaryIO, key: FileKey, body_start: int, tensors: list[Tensor]) -> Body:
        """The body of a file, from memory if its key is known."""
        # A digest computed without checking values must not vouch for the values.
        name = ":".join(map(str, (*key[1:], len(tensors))))
        self._used.add(name)
        if name not in self._known:
            self._known[name] = read_body(file, body_start, tensors)
            self._dirty = True
        return Body(*self._known[name])

    def save(self) -> None:
        """Writes what this process has used, if anything is new."""
        if self._path is None or not self._dirty:
            return
        kept = {name: self._known[name] for name in sorted(self._used)}
        try:
            _replace(self._path, json.dumps(kept))
            self._dirty = False
        except OSError as error:
            _log.warning("lora_digests_not_saved", path=str(self._path), error=str(error))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _load(path: Path) -> dict[str, tuple[str, int | None]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): (str(sha256), bad) for name, (sha256, bad) in known.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _log.warning("lora_digests_unreadable", path=str(path), error=str(error))
        return {}
