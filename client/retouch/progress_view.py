"""Progress bars: one row for each running photo, with the true percentage.

Owns the display during waiting. Rows appear and disappear with their photos, so that hundreds of
photos do not fill the screen.
"""

import math
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from retouch.console import Language, language
from retouch.records import Progress

# The service provides the texts of all other stages; before it has the photo, only the client can.
SENDING: dict[Language, str] = {"en": "Sending", "zh": "正在发送"}
# The time that is left, in seconds or minutes; the service estimates it.
LEFT: dict[Language, tuple[str, str]] = {
    "en": ("about {} s left", "about {} min left"),
    "zh": ("约剩 {} 秒", "约剩 {} 分钟"),
}
MINUTES_FROM_SECONDS = 90

# The longest names have 255 letters, and the bar needs room.
NAME = Column(max_width=40, overflow="ellipsis", no_wrap=True)


class ProgressView:
    """The rows on a terminal; silent if stderr is not one. Enter it before the first row."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.fields[photo]}", markup=False, table_column=NAME),
            BarColumn(bar_width=24),  # a line of 80 has room for name, stage and time
            TextColumn("{task.percentage:>5.1f}%"),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def row(self, photo: str) -> "Row":
        """A new row. Close it when its photo is done."""
        task = self._bars.add_task(SENDING[language()], total=100, photo=photo)
        return Row(self._bars, task)

    def say(self, text: str) -> None:
        """A line above the rows, which stays; on stderr also where that is no terminal."""
        self._bars.console.print(text, markup=False, highlight=False)


class Row:
    """One photo's bar."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def show(self, progress: Progress) -> None:
        """Moves the bar. The percentage is the service's own, never an estimate by the client."""
        self._bars.update(
            self._task, completed=progress.percent, description=_description(progress)
        )

    def close(self) -> None:
        self._bars.remove_task(self._task)


def _description(progress: Progress) -> str:
    text = progress.message or progress.stage or ""
    if progress.stage == "denoising" and progress.total_steps > 1:
        text = f"{text} {progress.step}/{progress.total_steps}"
    # Other photos may come first until the engine has begun; only then is the time known.
    is_known = progress.stage != "loading" and progress.percent < 100
    left = _left(progress.eta_seconds) if is_known else ""
    return ", ".join(part for part in (text, left) if part)


def _left(seconds: float | None) -> str:
    """Rounded up, since a wait that is longer than announced annoys more than a shorter one."""
    if seconds is None:
        return ""
    in_seconds, in_minutes = LEFT[language()]
    if seconds < MINUTES_FROM_SECONDS:
        return in_seconds.format(max(1, math.ceil(seconds)))
    return in_minutes.format(math.ceil(seconds / 60))
