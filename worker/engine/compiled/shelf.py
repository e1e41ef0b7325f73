"""Compiled code on disk: one folder per kind, bounded, shared by the workers of a data folder.

A folder is written under another name and renamed, so that one that is found is complete; its
digest is checked before the code is loaded, because half a library would end the process. A kind
for which code did not pay has a folder without code.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from worker.engine.base.disk_key import written_whole
from worker.engine.compiled.regions import Kind

# Below the data folder; only this module clears it.
FOLDER = "compiled"
CODE, FACTS = "code.so", "facts.json"

# A base has about a dozen kinds of 0.5 to 2 MB each.
MOST = 96


class Broken(Exception):
    """Raised for a file that is not what was written; it is gone by then."""


class Shelf:
    """The folder of compiled code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, kind: Kind) -> Path | None:
        """The kind's code, if it is there. Raises Broken; `is_known` tells of code that did not
        pay.
        """
        place = self._folder / kind.digest
        facts = self._facts(kind)
        if facts is None or facts["code"] is None:
            return None
        path = place / CODE
        try:
            if sha256(path.read_bytes()).hexdigest() != facts["code"]:
                raise OSError("its contents have changed")
            os.utime(place)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise Broken(f"{path}: {error}") from error
        return path

    def is_known(self, kind: Kind) -> bool:
        """Whether the kind has been made, with success or without."""
        return self._facts(kind) is not None

    def put(self, kind: Kind, code: bytes | None, gain: float) -> None:
        """Keeps a kind's code, or that it did not pay; the oldest used ones make room."""
        digest = None if code is None else sha256(code).hexdigest()
        facts = {"kind": kind.text, "code": digest, "gain": round(gain, 2)}
        with written_whole(self._folder / kind.digest) as place:
            if code is not None:
                (place / CODE).write_bytes(code)
            (place / FACTS).write_text(json.dumps(facts))
        self._prune()

    def forget(self, kind: Kind) -> None:
        """Removes a kind's code, which does not work."""
        shutil.rmtree(self._folder / kind.digest, ignore_errors=True)

    @contextmanager
    def making(self) -> Iterator[bool]:
        """Whether this process may make code now: one at a time does, of all that share the
        folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".making").open("w") as file:
            is_mine = _locked(file.fileno())
            if is_mine:
                self._clean()
            yield is_mine

    def _clean(self) -> None:
        """Removes what a process left that was ended in the middle."""
        for place in self._folder.glob(".*/"):
            shutil.rmtree(place, ignore_errors=True)

    def _facts(self, kind: Kind) -> dict[str, str | None] | None:
        try:
            facts = json.loads((self._folder / kind.digest / FACTS).read_text())
            return facts if facts["kind"] == kind.text and "code" in facts else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _prune(self) -> None:
        folders = [p for p in self._folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
        oldest = sorted(folders, key=lambda place: place.stat().st_mtime)
        for place in oldest[: max(0, len(folders) - MOST)]:
            shutil.rmtree(place, ignore_errors=True)


def _locked(descriptor: int) -> bool:
    """Takes a file's lock until the file is closed; False if another process has it."""
    import fcntl  # not on every system that a worker starts on

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
