"""The expected errors of a training run.

They end a command at a terminal, so each message is a complete sentence with advice; they never
reach a client of the service.
"""


class TrainingError(Exception):
    """Base class of every failure that the trainer reports on purpose."""


class NoPhotos(TrainingError):
    """Raised when a folder has too few readable pictures."""


class NameTaken(TrainingError):
    """Raised when the LoRA to be written exists already."""


class OutOfSpace(TrainingError):
    """Raised when the disk cannot hold a checkpoint; the last complete one is kept."""


class Diverged(TrainingError):
    """Raised when the loss is no longer a number; nothing of that state is kept."""


class RunChanged(TrainingError):
    """Raised when a run is resumed with settings other than those of its checkpoint."""
