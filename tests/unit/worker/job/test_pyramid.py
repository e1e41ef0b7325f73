"""Coarse to fine: what is changed at a smaller size arrives at the picture's own."""

from collections.abc import Callable

import numpy as np
import pytest

from worker.engine.interface import Pixels
from worker.job.pyramid import coarser_sizes, prepared


@pytest.fixture
def noisy() -> Pixels:
    return np.random.default_rng(0).integers(40, 200, (130, 201, 3), dtype=np.uint8)


def adding(levels: int, seen: list[tuple[int, ...]]) -> Callable[[Pixels], Pixels]:
    def treat(pixels: Pixels) -> Pixels:
        seen.append(pixels.shape)
        return pixels + np.uint8(levels)

    return treat


def test_each_level_has_half_the_side_and_small_pictures_have_fewer() -> None:
    assert coarser_sizes(400, 300, 3) == [(100, 75), (200, 150)]
    assert coarser_sizes(401, 301, 2) == [(201, 151)]
    assert coarser_sizes(100, 90, 3) == [(50, 45)]
    assert coarser_sizes(63, 500, 3) == []
    assert coarser_sizes(400, 300, 1) == []


def test_the_coarsest_level_is_treated_first(noisy: Pixels) -> None:
    seen: list[tuple[int, ...]] = []
    prepared(noisy, 3, adding(0, seen))
    assert seen == [(33, 51, 3), (65, 101, 3)]


def test_a_treatment_that_changes_nothing_leaves_the_picture_equal_in_every_bit(
    noisy: Pixels,
) -> None:
    assert np.array_equal(prepared(noisy, 3, adding(0, [])), noisy)


def test_one_level_is_no_treatment_at_all(noisy: Pixels) -> None:
    seen: list[tuple[int, ...]] = []
    assert prepared(noisy, 1, adding(5, seen)) is noisy
    assert not seen


def test_what_is_changed_at_every_level_adds_up(noisy: Pixels) -> None:
    # Given 5 grey levels more at the quarter and at the half
    made = prepared(noisy, 3, adding(5, []))
    assert np.array_equal(made, noisy + np.uint8(10))


def test_a_change_beyond_black_and_white_stays_within() -> None:
    bright = np.full((128, 128, 3), 250, np.uint8)
    made = prepared(bright, 2, lambda level: np.full_like(level, 255))
    assert made.min() == 255
    made = prepared(bright, 2, lambda level: np.zeros_like(level))
    assert made.max() == 0
