"""What a large picture has freed goes back to the system; small jobs are not delayed by it."""

import weakref
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.jobs import make_spec
from tests.unit.worker.job.conftest import RunJob, catalog_of
from worker.job import freed_memory, runner
from worker.job.freed_memory import give_back, give_back_after

MIB = 2**20
PIECE, PIECES = 100_000, 2_000


@pytest.mark.skipif(freed_memory._malloc_trim() is None, reason="another C library than glibc")
def test_freed_memory_goes_back_though_a_later_piece_is_still_in_use() -> None:
    # Given much memory in pieces too small to be mapped alone, all freed but the last
    pieces = [np.ones(PIECE, np.uint8) for _ in range(PIECES)]
    last = pieces[-1]
    del pieces
    before = psutil.Process().memory_info().rss
    # When
    give_back()
    # Then
    after = psutil.Process().memory_info().rss
    assert last.all()
    assert before - after > 0.8 * PIECE * PIECES


def test_pictures_in_cycles_are_freed_too() -> None:
    class Holder:
        def __init__(self) -> None:
            self.me, self.picture = self, np.ones(MIB, np.uint8)

    picture = weakref.ref(Holder().picture)

    give_back()

    assert picture() is None


@pytest.mark.parametrize(
    ("size", "upscale", "given_back"),
    [
        ((4000, 3000), 1, True),
        ((800, 600), 4, True),
        ((4000, 3000), "auto", True),
        ((800, 600), "auto", False),
        ((800, 600), 1, False),
    ],
)
def test_memory_is_given_back_after_large_pictures_alone(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], upscale: int | str, given_back: bool
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(freed_memory, "give_back", lambda: calls.append(1))
    spec = make_spec()
    source = spec.source.model_copy(update={"width": size[0], "height": size[1]})
    params = spec.params.model_copy(update={"upscale": upscale})

    give_back_after(spec.model_copy(update={"source": source, "params": params}))

    assert bool(calls) is given_back


def test_every_job_that_ends_is_asked_about(
    monkeypatch: pytest.MonkeyPatch, run: RunJob, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(runner, "give_back_after", lambda spec: asked.append(spec.id))

    job = run(catalog_of(tmp_path))

    assert asked == [job.id]
