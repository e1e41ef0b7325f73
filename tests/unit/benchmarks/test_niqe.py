"""How natural a picture looks, without its clean original."""

import numpy as np
import pytest
from skimage import data

from benchmarks.niqe import niqe
from worker.training.damage import SORTS


@pytest.mark.parametrize(("sort", "level"), [("white", 12), ("gaussian", 1.5), ("jpeg", 20)])
def test_a_damaged_photo_looks_less_natural(sort: str, level: float) -> None:
    photo = np.ascontiguousarray(data.astronaut()[:288, 96:384])
    damaged = SORTS[sort].make(photo, level, np.random.default_rng(0))
    assert niqe(damaged) > niqe(photo) + 0.5


def test_a_picture_without_detail_has_a_number_too() -> None:
    assert niqe(np.full((96, 192, 3), 128, np.uint8)) > 0


def test_a_picture_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="96 pixels a side"):
        niqe(np.zeros((95, 200, 3), np.uint8))
