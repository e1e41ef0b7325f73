"""Codes: an alarm for what the model added, none for what was there."""

import numpy as np
import pytest
from PIL import Image

from tests.support.marked import QR_TEXT, photo, with_code
from worker.guards import codes
from worker.guards.codes import CodeGuard
from worker.guards.finding import Finding
from worker.guards.sameness import reduced
from worker.training.damage.blurring import gaussian


def test_a_code_that_the_model_added_is_read() -> None:
    assert CodeGuard().added(photo(), with_code(photo())) == [Finding(QR_TEXT)]


def test_a_code_that_the_photo_had_is_no_alarm() -> None:
    marked = with_code(photo())
    assert CodeGuard().added(marked, marked) == []


def test_a_code_that_became_readable_is_no_alarm() -> None:
    sharp = with_code(photo())
    soft = gaussian(sharp, 2.2)
    assert CodeGuard().added(photo(), soft) == []  # nobody can read it there
    assert CodeGuard().added(soft, sharp) == []


def test_another_code_in_place_of_the_old_one_is_an_alarm() -> None:
    before = with_code(photo(), "https://museum.example/label/12")
    assert CodeGuard().added(before, with_code(photo())) == [Finding(QR_TEXT)]


def test_a_code_is_seen_whatever_size_the_input_had() -> None:
    small = np.ascontiguousarray(photo()[::2, ::2])
    assert CodeGuard().added(small, with_code(photo())) == [Finding(QR_TEXT)]


def test_a_code_in_a_picture_that_is_read_smaller_is_found_and_one_that_was_there_is_no_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codes, "MOST_PIXELS", 800_000)
    large = np.asarray(Image.fromarray(photo()).resize((1280, 1200)))
    marked = large.copy()
    code = with_code(photo())
    height, width = code.shape[:2]
    marked[500 : 500 + height, 800 : 800 + width] = code

    assert CodeGuard().added(large, marked) == [Finding(QR_TEXT)]
    assert CodeGuard().added(marked[::2, ::2], marked) == []
    assert reduced(large, 800_000).shape == (866, 923, 3)


def test_photos_hold_no_codes() -> None:
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        assert CodeGuard().added(photo(), photo(name)) == []
