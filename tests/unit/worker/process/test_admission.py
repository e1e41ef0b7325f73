"""How many jobs a worker takes at once, and on what it works."""

from collections.abc import Callable

import pytest

from shared.settings import Settings
from worker.engine.testing.fake import FakeEngine
from worker.process.devices import is_beside_a_gpu
from worker.process.engine_process import admission_window


@pytest.mark.parametrize(("rows", "asked", "window"), [(1, 0, 2), (8, 0, 9), (8, 3, 3)])
def test_a_worker_takes_its_engines_batch_and_one_more_unless_told_otherwise(
    make_settings: Callable[..., Settings], rows: int, asked: int, window: int
) -> None:
    engine = FakeEngine("tiny", 0.0)
    engine.rows = rows
    assert admission_window(make_settings(admission_window=asked), engine) == window
    engine.close()


@pytest.mark.parametrize(("only", "asked", "window"), [(False, 0, 2), (True, 0, 5), (True, 3, 3)])
def test_more_jobs_for_the_sake_of_small_ones_are_taken_only_where_no_other_worker_could_do_them(
    make_settings: Callable[..., Settings], only: bool, asked: int, window: int
) -> None:
    engine = FakeEngine("tiny", 0.0)
    engine.small_rows = 4
    settings = make_settings(only_worker=only, admission_window=asked)
    assert admission_window(settings, engine) == window
    engine.close()


@pytest.mark.parametrize(
    ("device", "asked", "driver", "expected"),
    [
        ("cpu", "auto", "/usr/bin/nvidia-smi", True),
        ("cpu", "cpu", "/usr/bin/nvidia-smi", False),
        ("cpu", "auto", None, False),
        ("cuda", "auto", "/usr/bin/nvidia-smi", False),
    ],
)
def test_work_on_the_processor_beside_a_gpu_is_noticed_unless_it_was_asked_for(
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    asked: str,
    driver: str | None,
    expected: bool,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: driver)
    assert is_beside_a_gpu(make_settings(device=asked), device) is expected
