"""What the guards' findings mean: who passes, with which flags, and what is never waved through."""

import pytest

from shared.errors import UnsafeInput, UnsafeOutput, WatermarkInOutput
from tests.support.marked import Fixed, photo
from worker.engine.interface import Pixels
from worker.guards.finding import Finding
from worker.guards.panel import Doubtful, Guards, Policy
from worker.guards.unsafe import OpenNsfw


class Finds:
    """A guard that finds these lines in every picture."""

    def __init__(self, *lines: str, is_sure: bool = True) -> None:
        self._found = [Finding(line, is_sure) for line in lines]

    def added(self, _given: Pixels, _output: Pixels) -> list[Finding]:
        return self._found


class Broken:
    """A guard that cannot do its work."""

    def added(self, _given: Pixels, _output: Pixels) -> list[Finding]:
        raise OSError("weights gone")


@pytest.mark.parametrize(
    ("score", "doubtful", "flags", "blocked"),
    [
        (0.19, "block", [], False),
        (0.2, "pass", [], False),
        (0.5, "flag", ["maybe_unsafe"], False),
        (0.5, "block", ["unsafe"], True),
        (0.79, "pass", [], False),
        (0.8, "pass", ["unsafe"], True),
        (0.95, "flag", ["unsafe"], True),
    ],
)
def test_a_score_passes_is_flagged_or_blocks(
    score: float, doubtful: Doubtful, flags: list[str], blocked: bool
) -> None:
    guards = Guards(Fixed(score), policy=Policy(doubtful=doubtful))
    verdict = guards.check_output(photo(), photo())
    assert verdict.safety.nsfw == score
    assert verdict.safety.flags == flags
    assert verdict.error is (UnsafeOutput if blocked else None)
    assert guards.is_preview_safe(photo()) is not blocked


def test_an_unsafe_input_is_refused() -> None:
    with pytest.raises(UnsafeInput):
        Guards(Fixed(0.9)).check_input(photo())
    Guards(Fixed(0.5)).check_input(photo())


def test_every_mark_blocks_and_is_named() -> None:
    guards = Guards(marks={"code": Finds("a", "b"), "text": Finds(), "mark": Finds("c")})
    verdict = guards.check_output(photo(), photo())
    assert verdict.error is WatermarkInOutput
    assert verdict.safety.flags == ["code", "mark"]
    assert verdict.details == ("code: a", "code: b", "mark: c")
    assert verdict.safety.nsfw is None


def test_what_is_only_likely_is_shown_with_a_flag() -> None:
    guards = Guards(marks={"code": Finds(), "mark": Finds("60 %", is_sure=False)})
    verdict = guards.check_output(photo(), photo())
    assert verdict.error is None
    assert verdict.safety.flags == ["maybe_watermark"]
    assert verdict.details == ("mark: 60 %",)
    assert verdict.against == ()


def test_what_is_certain_goes_before_what_is_likely() -> None:
    guards = Guards(marks={"code": Finds("a"), "mark": Finds("60 %", is_sure=False)})
    verdict = guards.check_output(photo(), photo())
    assert verdict.error is WatermarkInOutput
    assert verdict.safety.flags == ["code"]
    assert verdict.against == ("code",)


def test_unsafe_content_counts_before_marks() -> None:
    verdict = Guards(Fixed(1.0), {"code": Finds("a")}).check_output(photo(), photo())
    assert verdict.error is UnsafeOutput
    assert verdict.safety.flags == ["unsafe", "code"]


def test_a_guard_that_fails_lets_nothing_through() -> None:
    with pytest.raises(OSError, match="weights gone"):
        Guards(marks={"text": Broken()}).check_output(photo(), photo())


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_the_real_classifier_passes_ordinary_photos(open_nsfw: OpenNsfw, name: str) -> None:
    assert open_nsfw.score(photo(name)) < 0.2


def test_each_guard_that_is_done_is_told() -> None:
    told: list[tuple[int, int]] = []
    guards = Guards(Fixed(0.1), {"code": Finds(), "text": Finds()})

    guards.check_output(photo(), photo(), lambda done, total: told.append((done, total)))

    assert told == [(1, 3), (2, 3), (3, 3)]
