"""What a person reads on the terminal while a photo is worked on."""

import io

import pytest
from rich.console import Console

from retouch.progress_view import ProgressView
from retouch.records import Progress


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (Progress(percent=12, message="Enhancing", eta_seconds=4.2), "Enhancing, about 5 s left"),
        (Progress(percent=2, message="Enhancing", eta_seconds=130), "about 3 min left"),
        (Progress(percent=99, message="Saving", eta_seconds=0), "Saving, about 1 s left"),
        (
            Progress(percent=9, message="Enhancing", stage="denoising", step=3, total_steps=10),
            "Enhancing 3/10",
        ),
    ],
)
def test_the_stage_and_the_time_that_is_left_stand_beside_the_bar(
    progress: Progress, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retouch.progress_view.language", lambda: "en")
    assert said in shown(progress)


def test_one_step_is_not_counted_and_an_unknown_time_is_not_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("retouch.progress_view.language", lambda: "zh")
    seen = shown(Progress(percent=6, message="正在增强", stage="denoising", total_steps=1))
    assert "正在增强" in seen
    assert "/1" not in seen
    assert "约剩" not in seen


@pytest.mark.parametrize(
    "progress",
    [
        Progress(percent=2, message="Getting ready", stage="loading", eta_seconds=100),
        Progress(percent=100, message="Done", eta_seconds=0),
    ],
    ids=["other photos may come first", "done"],
)
def test_no_time_is_promised_before_it_is_known_and_after_the_end(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retouch.progress_view.language", lambda: "en")
    seen = shown(progress)
    assert str(progress.message) in seen
    assert "left" not in seen


def shown(progress: Progress) -> str:
    """The terminal's text while the row is there."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, color_system=None)
    with ProgressView(console) as view:
        view.row("selfie.jpg").show(progress)
    return text.getvalue()
