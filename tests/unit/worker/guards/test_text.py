"""Text: an alarm for an advertisement that the model wrote, none for anything else."""

import numpy as np
import pytest

from tests.support.marked import photo, with_text
from worker.guards.finding import Finding
from worker.guards.foreign_words import is_known, mark_in
from worker.guards.marks import is_suspicious
from worker.guards.text import TextGuard
from worker.training.damage.blurring import gaussian

ADDRESS = "www.bet365x.com"


def test_an_address_that_the_model_wrote_is_read(text_guard: TextGuard) -> None:
    assert text_guard.added(photo(), with_text(photo(), ADDRESS)) == [Finding(ADDRESS)]


def test_an_address_that_the_photo_had_is_no_alarm(text_guard: TextGuard) -> None:
    marked = with_text(photo(), ADDRESS)
    assert text_guard.added(marked, marked) == []


def test_an_address_that_became_readable_is_no_alarm(text_guard: TextGuard) -> None:
    sharp = with_text(photo(), ADDRESS, size=14, opacity=1.0)
    assert text_guard.added(gaussian(sharp, 2.2), sharp) == []


@pytest.mark.parametrize("blur", [4.0, 6.0, 8.0])
@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_a_line_that_was_there_is_no_alarm_however_blurred_it_was(
    text_guard: TextGuard, name: str, blur: float
) -> None:
    sharp = with_text(photo(name), ADDRESS, size=26, opacity=1.0)
    assert text_guard.added(gaussian(sharp, blur), sharp) == []


@pytest.mark.parametrize("blur", [4.0, 8.0])
def test_a_line_on_a_blurred_photo_that_had_none_is_an_alarm(
    text_guard: TextGuard, blur: float
) -> None:
    before = gaussian(photo(), blur)
    assert text_guard.added(before, with_text(photo(), ADDRESS))


def test_nothing_is_read_where_nothing_of_the_kind_was_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard = TextGuard(lambda _given, _output: False)
    monkeypatch.setattr(guard, "read", lambda _pixels: pytest.fail("it was read"))
    assert guard.added(photo(), photo()) == []


@pytest.mark.parametrize("opacity", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("size", [14, 30])
@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_a_line_that_can_be_read_is_suspicious(name: str, size: int, opacity: float) -> None:
    before = photo(name)
    assert is_suspicious(before, with_text(before, ADDRESS, size, opacity))


@pytest.mark.parametrize("size", [(60_000, 60), (16, 20_000), (640, 16)])
def test_a_picture_that_is_all_length_holds_nothing_to_be_read(
    text_guard: TextGuard, size: tuple[int, int]
) -> None:
    assert text_guard.read(np.full((*size[::-1], 3), 200, np.uint8)) == []


def test_words_that_advertise_nothing_are_no_alarm(text_guard: TextGuard) -> None:
    marked = with_text(photo(), "Platform two")
    assert [line.text for line in text_guard.read(marked)] == ["Platform two"]
    assert text_guard.added(photo(), marked) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("www.bet365x.com", "address"),
        ("https:/shop.example", "address"),
        ("visit cheapwatches.cn now", "address"),
        ("write to joe@mail.example.com", "address"),
        ("@lens_and_light", "contact"),
        ("tel +49 151 23456789", "contact"),
        ("微信号：abc12345", "contact"),
        ("ShutterStock", "wording"),
        ("shutter stock", "wording"),
        ("(c) 2026 J. Doe", "wording"),
        ("ALL RIGHTS RESERVED", "wording"),
        ("SAMPLE", "wording"),
        ("仅供预览 水印", "wording"),
    ],
)
def test_a_mark_is_known_by_its_words(text: str, kind: str) -> None:
    assert mark_in(text) == kind


@pytest.mark.parametrize(
    "text",
    ["Platform two", "EXIT", "2026-11-24 10:22", "Cafe at the corner.", "No. 12", "B 1234 XY",
     "samples of rock", "北京站", "3.14159", "1/250 f8"],
)  # fmt: skip
def test_what_signs_and_date_stamps_say_is_no_mark(text: str) -> None:
    assert mark_in(text) is None


def test_two_readings_of_one_line_are_the_same_line() -> None:
    assert is_known("www.bet365x.com", ["Wwww.bet36Sx.com"])
    assert not is_known("www.bet365x.com", ["Platform two", ""])
