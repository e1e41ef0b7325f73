"""Pictures that no model can help: very small, dark, blank or blurred ones.

Owns the decision. The limits in quality_check.json come from benchmarks/calibrate_quality_check.py,
which reports how many ordinary photos they refuse. decoding/measure.py owns how quality is
measured.
"""

import json
from importlib.resources import files
from typing import Literal

from api.intake.accepted import Accepted
from api.intake.quality import Quality
from api.wire.sentence import Sentence
from shared.errors import ImageBlank, ImageTooBlurry, ImageTooDark, ImageTooSmall, RetouchError
from shared.settings import Settings

Reason = Literal["small", "dark", "blank", "blurry"]

_ERRORS: dict[Reason, type[RetouchError]] = {
    "blank": ImageBlank,
    "dark": ImageTooDark,
    "blurry": ImageTooBlurry,
}
_WARNINGS: dict[Reason, str] = {
    "small": "too_small",
    "blank": "blank",
    "dark": "too_dark",
    "blurry": "too_blurry",
}


def short_side(width: int, height: int, least: int) -> Sentence:
    """That the shorter side has less than `least` pixels."""
    claimed = f"{width}x{height}"
    return Sentence(
        f"{claimed} has a side of less than {least} pixels",
        f"{claimed} 的短边不足 {least} 像素",
    )


class QualityGate:
    """Refuses pictures that no model can help, unless the caller insists."""

    def __init__(self, settings: Settings) -> None:
        self._on = settings.gate_names
        self._small_side = settings.small_side
        text = files("api.intake").joinpath("quality_check.json").read_text("utf-8")
        self._least = Quality.model_validate_json(json.dumps(json.loads(text)["least"]))

    def check(self, picture: Accepted, force: bool) -> None:
        """Raises ImageTooSmall, ImageBlank, ImageTooDark or ImageTooBlurry."""
        reason = None if force else self.reason(picture)
        if reason == "small":
            source = picture.source
            raise ImageTooSmall(short_side(source.width, source.height, self._small_side))
        if reason is not None:
            raise _ERRORS[reason]()

    def warnings(self, picture: Accepted) -> list[str]:
        """The code with which a job with this picture would be refused, if any."""
        reason = self.reason(picture)
        return [] if reason is None else [_WARNINGS[reason]]

    def reason(self, picture: Accepted) -> Reason | None:
        """The reason why a picture cannot be helped, the most certain reason first."""
        quality, least = picture.quality, self._least
        side = min(picture.source.width, picture.source.height)
        if self._is_refused("small", side, self._small_side):
            return "small"
        if quality is None:
            return None
        if self._is_refused("dark", quality.light, least.light):
            return "dark"
        if self._is_refused("blank", quality.spread, least.spread):
            return "blank"
        return "blurry" if self._is_refused("blurry", quality.sharpness, least.sharpness) else None

    def _is_refused(self, reason: Reason, value: float, least: float) -> bool:
        return reason in self._on and value < least
