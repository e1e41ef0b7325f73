"""What can go wrong on purpose when a person starts a training run.

These end a command at a terminal, so each message is a whole sentence with what to do; they never
travel to a client of the service.
"""


class TrainingError(Exception):
    """Base class for every failure that the trainer reports on purpose."""


class NoPhotos(TrainingError):
    """Raised when a folder holds too few pictures that can be read."""


class NameTaken(TrainingError):
    """Raised when the LoRA that would be written exists already."""


class OutOfSpace(TrainingError):
    """Raised when the disk cannot take a checkpoint; the last complete one is kept."""


class Diverged(TrainingError):
    """Raised when the loss is no number any more; nothing that came of it is kept."""


class RunChanged(TrainingError):
    """Raised when a run is resumed with settings that its checkpoint was not made with."""
