"""What happened, line by line: written by the tests and by every worker into one file.

A line has `t` (CLOCK_MONOTONIC, one clock for all processes of the machine), `pid`, `what`, and
what belongs to it. Lines are appended whole, so processes that are killed leave whole lines.
"""

import json
import threading
from pathlib import Path
from typing import Any

from worker.engine.testing.faults import Faults

Line = dict[str, Any]


class History:
    """One test's history, and the faults that it arms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._armed = folder / "armed"
        self._armed.mkdir(parents=True, exist_ok=True)
        self._faults = Faults(str(folder))
        self._known: list[Line] = []
        self._offset = 0
        self._lock = threading.Lock()

    def note(self, what: str, **facts: object) -> None:
        """Add a line of the test's own."""
        self._faults.note(what, **facts)

    def lines(self, what: str | None = None, **facts: object) -> list[Line]:
        """Every line of a kind with these facts, in order of time."""
        self._read_on()
        found = [
            line
            for line in self._known
            if (what is None or line["what"] == what)
            and all(line.get(name) == value for name, value in facts.items())
        ]
        return sorted(found, key=lambda line: line["t"])

    def _read_on(self) -> None:
        """Take in what has been written since; a history is looked at many times a second."""
        path = self.folder / "history.jsonl"
        if not path.exists():
            return
        with self._lock, path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
            self._known += [json.loads(line) for line in whole.splitlines()]
            self._offset += len(whole + newline)

    def arm(self, point: str, action: str) -> None:
        """Let the next worker that reaches `point` have a fault."""
        waiting = self._armed / f".{point}.new"
        waiting.write_text(action)
        waiting.rename(self._armed / point)

    def is_armed(self, point: str) -> bool:
        """Whether nobody has reached the point yet."""
        return (self._armed / point).exists()

    def disarm(self, point: str) -> None:
        (self._armed / point).unlink(missing_ok=True)
