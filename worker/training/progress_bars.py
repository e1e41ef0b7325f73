"""Progress bars of a training with several stages: one for each."""

from rich.progress import Progress as Bar
from rich.progress import TaskID

from worker.training.loop import Progress


class StageBars:
    """Shows the progress of each stage on a line of its own. Called after every step."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, progress: Progress) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=progress.steps)
        self._bar.update(self._tasks[stage], completed=progress.step)
