"""A training of several stages on the terminal: one bar for each."""

from rich.progress import Progress as Bar
from rich.progress import TaskID

from worker.training.loop import Progress


class Teller:
    """Told of every step; a stage that is new gets a line of its own."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, progress: Progress) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=progress.steps)
        self._bar.update(self._tasks[stage], completed=progress.step)
