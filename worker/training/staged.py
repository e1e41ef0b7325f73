"""Runs one stage of a longer training to its end, with checkpoints and a curve in a folder.

Owns the names of those files. The loss owns the task.
"""

from collections.abc import Callable
from pathlib import Path

from worker.training.checkpoint import load_checkpoint, save_checkpoint
from worker.training.loop import Loop, Progress

KEEP_EVERY = 200


def run_stage(stage: str, loop: Loop, work: Path, tell: Callable[[str, Progress], None]) -> None:
    """Trains to the end from the last checkpoint, then loads the averaged weights."""
    path = work / f"{stage}.pt"
    if (saved := load_checkpoint(path)) is not None:
        loop.restore(saved)

    def after_step(progress: Progress) -> None:
        tell(stage, progress)
        if progress.step % KEEP_EVERY == 0 or progress.step == progress.steps:
            save_checkpoint(path, loop.state())
            with (work / f"{stage}.csv").open("a", encoding="utf-8") as curve:
                curve.write(f"{progress.step},{progress.loss:.5f}\n")

    loop.run(loop.schedule.steps, after_step)
    loop.swap_average()
