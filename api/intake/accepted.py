"""A picture that the gateway has accepted."""

from dataclasses import dataclass

from api.intake.quality import Quality
from shared.jobs import Source


@dataclass(frozen=True)
class Accepted:
    """A decoded picture, the changes made to it, whether its sender has sent it for the first time,
    and its measured quality; None if that was not measured.
    """

    source: Source
    warnings: list[str]
    is_new: bool
    quality: Quality | None
