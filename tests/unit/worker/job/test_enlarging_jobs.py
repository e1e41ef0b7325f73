"""How a job becomes larger: by what, in which order, with which percentage, and what it says."""

from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image

from shared.errors import UpscalerChanged, UpscalerUnusable
from shared.jobs import JobState, Stage
from shared.loras.check import check_file
from shared.params import JobParams
from shared.settings import REPOSITORY
from shared.upscalers import choice
from shared.upscalers.architecture import Rrdb
from shared.upscalers.catalog import UpscalerCatalog
from tests.unit.loras.lora_files import tiny_specs, write_lora
from tests.unit.upscalers.upscaler_files import FOLDED
from tests.unit.worker.job.conftest import RunJob, catalog_of
from worker.engine.interface import Pixels
from worker.engine.testing.fake import FakeEngine, fake_enlarged
from worker.guards.finding import Finding
from worker.job import enlarging
from worker.job.enlarging import Enlargements, fitted
from worker.job.history import History, StageCosts
from worker.job.progress import EnlargingCost, ProgressTracker

SMALL = np.zeros((48, 64, 3), np.uint8)
ONCE = Rrdb(width=8, growth=4, blocks=1, ups=0, fold=1)


@pytest.mark.parametrize(("base", "factor"), [("tiny", 2), ("sd15", 4)])
def test_a_result_is_as_large_as_asked_and_says_by_what(
    run: RunJob, tmp_path: Path, base: str, factor: int
) -> None:
    job = run(catalog_of(tmp_path, retouch=FOLDED), base, upscale=factor)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert (job.result.width, job.result.height) == (64 * factor, 48 * factor)
    assert (job.result.upscale, job.result.upscaler) == (factor, "retouch")
    assert job.timings.enlarging_seconds >= 0


def test_without_any_enlarger_the_filter_does_it_and_that_is_said(
    run: RunJob, tmp_path: Path
) -> None:
    job = run(catalog_of(tmp_path), upscale=2)
    assert job.result is not None
    assert (job.result.width, job.result.upscaler) == (128, "lanczos")
    assert [item.code for item in job.degraded] == ["no_upscaler"]
    asked = run(catalog_of(tmp_path), upscale=2, upscaler="lanczos")
    assert asked.result is not None
    assert asked.result.upscaler == "lanczos"
    assert asked.degraded == []


class Compared:
    """A guard that keeps the shapes of what it is shown."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def added(self, given: Pixels, output: Pixels) -> list[Finding]:
        self.shapes += [given.shape, output.shape]
        return []


@pytest.mark.parametrize(("is_known", "seen"), [(True, SMALL.shape), (False, (96, 128, 3))])
def test_guards_compare_what_the_base_made_unless_an_unknown_network_enlarged_it(
    run: RunJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_known: bool,
    seen: tuple[int, ...],
) -> None:
    monkeypatch.setattr(enlarging, "is_known", lambda _entry: is_known)
    guard = Compared()
    job = run(catalog_of(tmp_path, retouch=FOLDED), upscale=2, marks={"mark": guard})
    assert job.state is JobState.SUCCEEDED
    assert guard.shapes == [SMALL.shape, seen]


def test_guards_compare_what_another_base_drew_into_the_enlarged_photo(
    run: RunJob, tmp_path: Path
) -> None:
    guard = Compared()
    run(catalog_of(tmp_path, retouch=FOLDED), "sd15", upscale=2, marks={"mark": guard})
    assert guard.shapes == [SMALL.shape, (96, 128, 3)]


def test_guards_compare_no_enlargement_by_the_filter(run: RunJob, tmp_path: Path) -> None:
    guard = Compared()
    run(catalog_of(tmp_path), upscale=2, upscaler="lanczos", marks={"mark": guard})
    assert guard.shapes == [SMALL.shape, SMALL.shape]


def test_the_files_that_are_known_are_those_of_the_repository() -> None:
    catalog = UpscalerCatalog(REPOSITORY / "upscalers")
    catalog.scan()
    assert choice.is_known(catalog.resolve(choice.OURS))
    if (REPOSITORY / "upscalers" / f"{choice.LARGE}.safetensors").exists():
        assert choice.is_known(catalog.resolve(choice.LARGE))


def test_auto_is_settled_by_the_worker_where_a_gateway_did_not(run: RunJob, tmp_path: Path) -> None:
    job = run(catalog_of(tmp_path, retouch=FOLDED), upscale="auto")
    assert job.result is not None
    assert job.result.upscale == job.params.upscale == 4
    assert job.params.upscale_reason
    assert "64" in job.params.upscale_reason


def test_a_file_that_breaks_after_the_look_costs_auto_its_network_and_a_name_its_job(
    run: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = catalog_of(tmp_path, retouch=FOLDED)
    monkeypatch.setattr(FakeEngine, "_enlarge", _broken)
    job = run(catalog, upscale=2)
    assert job.result is not None
    assert job.result.upscaler == "lanczos"
    assert [item.code for item in job.degraded] == ["no_upscaler"]
    named = run(catalog, upscale=2, upscaler="retouch")
    assert named.failure is not None
    assert named.failure.code == "upscaler_changed"


def _broken(*_: object) -> None:
    raise UpscalerChanged("replaced")


def test_the_embedded_base_works_first_and_others_last_and_a_lora_may_say_otherwise(
    tmp_path: Path,
) -> None:
    catalog, params = catalog_of(tmp_path / "up", retouch=FOLDED), JobParams(upscale=2)
    assert not Enlargements(catalog, "tiny", "cpu").plan(params, SMALL, ()).first
    assert Enlargements(catalog, "sd15", "cpu").plan(params, SMALL, ()).first
    path = write_lora(tmp_path / "one_tiny.safetensors", tiny_specs())
    (tmp_path / "one_tiny.toml").write_text('work_at = "target"\n')
    lora = check_file(path)
    assert Enlargements(catalog, "tiny", "cpu").plan(params, SMALL, ((lora, 1.0),)).first


def test_a_pinned_file_that_was_replaced_or_removed_fails_the_job(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, one=FOLDED)
    plans = Enlargements(catalog, "tiny", "cpu")
    params = JobParams(upscale=2, upscaler="one", upscaler_sha256="0" * 64)
    with pytest.raises(UpscalerChanged):
        plans.plan(params, SMALL, ())
    with pytest.raises(UpscalerChanged):
        plans.plan(JobParams(upscale=2, upscaler="gone"), SMALL, ())


def test_a_network_that_does_not_enlarge_runs_when_it_is_named_and_refuses_factors(
    tmp_path: Path,
) -> None:
    plans = Enlargements(catalog_of(tmp_path, once=ONCE), "tiny", "cpu")
    plan = plans.plan(JobParams(upscale=1, upscaler="once"), SMALL, ())
    assert (plan.enlarges, plan.name, plan.size) == (True, "once", (64, 48))
    with pytest.raises(UpscalerUnusable):
        plans.plan(JobParams(upscale=2, upscaler="once"), SMALL, ())
    assert plans.plan(JobParams(upscale=2), SMALL, ()).degraded == ("no_upscaler",)


def test_nothing_is_enlarged_unasked(tmp_path: Path) -> None:
    plan = Enlargements(catalog_of(tmp_path, retouch=FOLDED), "tiny", "cpu").plan(
        JobParams(upscale=1), SMALL, ()
    )
    assert (plan.enlarges, plan.name) == (False, None)


def test_max_side_holds_after_enlarging() -> None:
    larger = fake_enlarged(SMALL, 4)
    assert fitted(larger, (100, 75)).shape == (75, 100, 3)
    assert fitted(larger, (256, 192)) is larger
    wide = np.asarray(Image.new("RGB", (10, 10)))
    assert fitted(wide, (20, 20)).shape == (20, 20, 3)


@pytest.mark.parametrize("stage", [Stage.LOADING, Stage.DECODING])
def test_the_percentage_rises_with_every_tile_wherever_they_come(stage: Stage) -> None:
    costs = StageCosts(seconds=dict.fromkeys(Stage, 1.0))
    tracker = ProgressTracker(costs, 1.0, 2, enlarging=EnlargingCost(6.0, stage))
    percents, by_tile = [], []
    for entered in Stage:
        if entered is not Stage.LOADING:
            percents.append(tracker.enter(entered).percent)
        if entered is Stage.DENOISING:
            percents += [tracker.step(step).percent for step in (1, 2)]
        if entered is stage:
            by_tile = [tracker.tile(tile, 4).percent for tile in range(1, 5)]
            percents += by_tile
    assert percents == sorted(percents)
    assert by_tile == sorted(set(by_tile))
    assert percents[-1] < 100


def test_what_an_enlarger_takes_is_learnt_by_its_name(redis_client: redis.Redis) -> None:
    history = History(redis_client, "tiny", "cpu")
    assert history.enlarging("one", 7.0) == 7.0
    history.learn_enlarging("one", 2.0, 0.5)
    assert history.enlarging("one", 7.0) == 4.0
    history.learn_enlarging("one", 4.0, 0.5)
    assert 4.0 < history.enlarging("one", 7.0) < 8.0
    assert history.enlarging("other", 7.0) == 7.0
