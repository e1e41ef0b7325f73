"""The record of an output folder: a line of JSON for each photo, in OUT/.retouch.jsonl.

Owns the file. A line is written once the complete picture is on the disk, so that a run that is
killed at any moment and restarted does the rest and nothing twice. Safe to share between threads.
"""

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

NAME = ".retouch.jsonl"


@dataclass(frozen=True)
class Line:
    """One photo by its path below IN and its content; its picture below OUT, or empty with the
    reason. `tries` counts the failures so far.
    """

    photo: str
    sha256: str
    output: str
    error: str | None = None
    detail: str | None = None
    tries: int = 0


class Journal:
    """The lines of one output folder, the newest of each photo. Enter it to write."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}
        self._by_content: dict[str, str] = {}
        self._owners: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+", encoding="utf-8", errors="surrogateescape")
        self._file.seek(0)
        text = ""
        for text in self._file:
            self._read(text)
        if text and not text.endswith("\n"):
            self._file.write("\n")  # the last run was killed in the middle of a line
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def line(self, photo: str) -> Line | None:
        """The newest line of the photo at this path."""
        with self._lock:
            return self._lines.get(photo)

    def same(self, sha256: str) -> Line | None:
        """A finished photo with the same content."""
        with self._lock:
            return self._lines.get(self._by_content.get(sha256, ""))

    def claim(self, output: str, photo: str) -> bool:
        """Whether this output belongs to this photo; a free output is assigned to it."""
        with self._lock:
            return self._owners.setdefault(output.casefold(), photo) == photo

    def write(self, line: Line) -> None:
        """Appends a line. Raises OSError if writing fails."""
        text = json.dumps(asdict(line), ensure_ascii=False)
        with self._lock:
            self._file.write(f"{text}\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._keep(line)

    def failures(self) -> list[Line]:
        """The photos whose newest line is a failure."""
        with self._lock:
            return [line for line in self._lines.values() if line.error]

    def _read(self, text: str) -> None:
        try:
            self._keep(Line(**json.loads(text)))
        except (ValueError, TypeError):
            return  # half a line, or one of another version

    def _keep(self, line: Line) -> None:
        self._lines[line.photo] = line
        if line.error is None:
            self._owners[line.output.casefold()] = line.photo
            self._by_content[line.sha256] = line.photo
