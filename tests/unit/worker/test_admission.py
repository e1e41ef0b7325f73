"""How many jobs a worker takes at once."""

from collections.abc import Callable

import pytest

from shared.settings import Settings
from worker.engine.fake import FakeEngine
from worker.process import admission_window


@pytest.mark.parametrize(("rows", "asked", "window"), [(1, 0, 2), (8, 0, 9), (8, 3, 3)])
def test_a_worker_takes_its_engines_batch_and_one_more_unless_told_otherwise(
    make_settings: Callable[..., Settings], rows: int, asked: int, window: int
) -> None:
    engine = FakeEngine("tiny", 0.0)
    engine.rows = rows
    assert admission_window(make_settings(admission_window=asked), engine) == window
    engine.close()
