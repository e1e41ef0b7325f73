"""A picture that the gateway has accepted."""

from dataclasses import dataclass

from api.intake.quality import Quality
from shared.jobs import Source


@dataclass(frozen=True)
class Accepted:
    """A picture that can be worked on, what was changed about it, whether its sender has sent it
    for the first time, and what it is like; None where that was not measured.
    """

    source: Source
    warnings: list[str]
    is_new: bool
    quality: Quality | None
