"""When the next attempt is due."""

import time
from email.utils import formatdate

import pytest

from retouch.patience import Deadline, Patience, seconds_of


def test_waits_double_until_the_longest_and_are_never_the_same_for_all() -> None:
    patience = Patience(1000.0)
    pauses = [patience.pause() or 0.0 for _ in range(8)]
    for number, pause in enumerate(pauses):
        longest = min(8.0, 0.2 * 2**number)
        assert 0.75 * longest <= pause <= longest


def test_the_service_may_ask_for_a_longer_wait_but_not_for_a_shorter_one() -> None:
    assert Patience(1000.0).pause("7") == 7.0
    assert (Patience(1000.0).pause("0") or 0.0) > 0.1


def test_a_date_is_understood_as_well_as_seconds() -> None:
    assert 25 < seconds_of(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert seconds_of(formatdate(time.time() - 30, usegmt=True)) == 0.0


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "inf", "nan", "1e9", "٣", "99:99"])
def test_what_is_neither_seconds_nor_a_date_is_left_to_the_backoff(text: str | None) -> None:
    assert seconds_of(text) == 0.0


def test_the_series_ends_when_the_next_attempt_would_come_too_late() -> None:
    assert Patience(5.0).pause("6") is None
    assert Patience(0.0).pause() is None


def test_a_deadline_shortens_the_last_wait_and_then_ends_the_series() -> None:
    assert (Patience(100.0, Deadline(0.05)).pause("60") or 1.0) <= 0.05
    assert Patience(100.0, Deadline(0.0)).pause() is None
