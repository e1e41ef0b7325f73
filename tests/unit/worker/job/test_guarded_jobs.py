"""Jobs under guards: a hit fails the job, names its LoRA and counts against it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from shared.blobs import BlobStore, open_blobs
from shared.errors import LoraQuarantined, StoreUnavailable
from shared.jobs import Job, JobState
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.loras.catalog import Catalog
from shared.loras.release import LOCK_NAME
from shared.params import LoraRef
from shared.settings import Settings
from tests.support.marked import QR_TEXT, Fixed, with_code
from tests.support.workers import picture, spec_with_picture, without_upscalers
from tests.unit.loras.lora_files import tiny_specs, write_lora
from worker.engine.interface import EngineJob, EngineResult, Pixels, PreviewReady
from worker.engine.testing.fake import FakeEngine
from worker.guards.codes import CodeGuard
from worker.guards.panel import Guards
from worker.job.history import History
from worker.job.leases import LeaseKeeper
from worker.job.lora_choice import Chooser
from worker.job.probe import NoProbe
from worker.job.pulse import Pulse
from worker.job.runner import Runner

NAME = "bad_tiny"


class Forging(FakeEngine):
    """Gives the picture back with a code in it, wherever a LoRA is used."""

    def __init__(self) -> None:
        super().__init__("tiny", 0.0)
        self.jobs = 0

    def submit(self, job: EngineJob, on_event: Any) -> "Future[EngineResult]":
        self.jobs += 1
        if job.preview:
            on_event(PreviewReady(job.pixels[::4, ::4].copy()))
        made: Future[EngineResult] = Future()
        pixels = with_code(job.pixels) if job.loras else job.pixels
        made.set_result(EngineResult(pixels, (), {}))
        return made


class Raising:
    """A guard whose weights have gone bad."""

    def added(self, _given: Pixels, _output: Pixels) -> list[str]:
        raise ValueError("no such tensor")


@pytest.fixture
def engine() -> Iterator[Forging]:
    forging = Forging()
    yield forging
    forging.close()


@pytest.fixture
def strikes(redis_client: redis.Redis, settings: Settings) -> Strikes:
    return Strikes(redis_client, settings)


@pytest.fixture
def catalog(tmp_path: Path, strikes: Strikes) -> Catalog:
    folder = tmp_path / "loras"
    folder.mkdir()
    write_lora(folder / f"{NAME}.safetensors", tiny_specs())
    found = Catalog(folder, "tiny", suspended=strikes.suspended)
    found.scan()
    return found


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_blobs(settings)


@pytest.fixture
def run(
    store: JobStore,
    blobs: BlobStore,
    redis_client: redis.Redis,
    strikes: Strikes,
    catalog: Catalog,
    engine: Forging,
) -> Callable[..., Job]:
    """Send a photo through a worker with these guards; the job as it ends."""
    leases = LeaseKeeper(store, 60.0, 60.0)

    def run_one(guards: Guards, **params: object) -> Job:
        spec = spec_with_picture(blobs, picture(160, 144), **({"preview": False} | params))
        store.submit(spec)
        runner = Runner(
            worker_id="w",
            base="tiny",
            engine=engine,
            store=store,
            blobs=blobs,
            history=History(redis_client, "tiny", "fake"),
            chooser=Chooser(catalog, "tiny"),
            enlargements=without_upscalers(),
            guards=guards,
            strikes=strikes,
            failures=LoraFailures(redis_client, "tiny"),
            leases=leases,
            pulse=Pulse(),
            probe=NoProbe(),
            on_device_lost=lambda: None,
        )
        assert runner.run_next()
        return store.get(spec.id)

    return run_one


@pytest.fixture
def bad(catalog: Catalog) -> dict[str, object]:
    """Parameters of a job with the bad LoRA."""
    entry = catalog.resolve(NAME)
    return {"lora_mode": "named", "loras": [{"name": NAME, "sha256": entry.sha256}]}


@pytest.fixture
def guards() -> Guards:
    return Guards(Fixed(0.1), {"code": CodeGuard()})


def test_a_code_in_the_output_fails_the_job_and_names_the_lora(
    run: Callable[..., Job], guards: Guards, bad: dict[str, object], settings: Settings
) -> None:
    job = run(guards, **bad)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.code == "watermark_in_output"
    assert job.failure.flags == ["code"]
    assert job.failure.loras == [NAME]
    assert QR_TEXT in job.failure.message
    assert not list((settings.data_dir / "blobs").glob("results/*"))


def test_the_base_alone_passes_and_the_record_says_what_was_measured(
    run: Callable[..., Job], guards: Guards
) -> None:
    job = run(guards, lora_mode="none")
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result.safety.nsfw == 0.1
    assert job.result.safety.flags == []
    assert job.timings.checking_seconds > 0


def test_without_guards_nothing_is_claimed_to_have_been_measured(
    run: Callable[..., Job], bad: dict[str, object]
) -> None:
    job = run(Guards(), **bad)
    assert job.result is not None
    assert job.result.safety.nsfw is None


def test_an_unsafe_input_costs_no_device_time(
    run: Callable[..., Job], engine: Forging, bad: dict[str, object], strikes: Strikes
) -> None:
    job = run(Guards(Fixed(0.9)), **bad)
    assert job.failure is not None
    assert job.failure.code == "unsafe_input"
    assert job.failure.loras == []
    assert engine.jobs == 0
    assert strikes.suspended() == {}


def test_a_guard_that_breaks_down_lets_no_picture_through(
    run: Callable[..., Job], settings: Settings
) -> None:
    job = run(Guards(marks={"text": Raising()}), lora_mode="none")
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.code == "internal_error"
    assert not list((settings.data_dir / "blobs").glob("results/*"))


def test_three_hits_suspend_the_file_until_a_person_releases_it(
    run: Callable[..., Job],
    guards: Guards,
    bad: dict[str, object],
    catalog: Catalog,
    strikes: Strikes,
    tmp_path: Path,
) -> None:
    # Given two hits
    sha256 = catalog.resolve(NAME).sha256
    for _ in range(2):
        run(guards, **bad)
    catalog.scan()
    assert catalog.resolve(NAME).sha256 == sha256
    # When a third follows
    run(guards, **bad)
    catalog.scan()
    # Then it is refused, with the way out
    with pytest.raises(LoraQuarantined, match=rf"3 of its pictures.*{LOCK_NAME}"):
        catalog.resolve("bad")
    assert "停用" in catalog.explain("bad", "zh")
    # and offered again once its bytes are released
    (tmp_path / "loras" / LOCK_NAME).write_text(f'[released]\n"{sha256}" = "seen by Jane"\n')
    catalog.scan()
    assert catalog.resolve(NAME).sha256 == sha256
    assert strikes.suspended()[sha256].name == NAME


def test_a_new_name_does_not_clear_a_suspended_file(
    run: Callable[..., Job],
    guards: Guards,
    bad: dict[str, object],
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    for _ in range(3):
        run(guards, **bad)
    folder = tmp_path / "loras"
    (folder / f"{NAME}.safetensors").rename(folder / "good_tiny.safetensors")
    catalog.scan()
    with pytest.raises(LoraQuarantined):
        catalog.resolve("good")


class Later:
    """Unsafe from its n-th look on."""

    def __init__(self, safe_looks: int) -> None:
        self._safe = safe_looks

    def score(self, _pixels: Pixels) -> float:
        self._safe -= 1
        return 0.0 if self._safe >= 0 else 1.0


# A job's pictures are looked at in this order: input, preview, output.
@pytest.mark.parametrize(("safe_looks", "previews"), [(1, 0), (2, 1)])
def test_a_preview_is_kept_only_when_it_is_safe(
    run: Callable[..., Job], settings: Settings, safe_looks: int, previews: int
) -> None:
    job = run(Guards(Later(safe_looks)), lora_mode="none", preview=True)
    assert job.failure is not None
    assert job.failure.code == "unsafe_output"
    assert (job.preview is not None) == bool(previews)
    assert len(list((settings.data_dir / "blobs").glob("previews/*"))) == previews


def test_the_same_job_counts_once(
    strikes: Strikes, catalog: Catalog, redis_client: redis.Redis
) -> None:
    entry = catalog.resolve(NAME)
    ref = LoraRef(name=NAME, sha256=entry.sha256)
    for _ in range(5):
        strikes.count([ref], "one-job", "reported")
    assert redis_client.zcard(f"lora:{entry.sha256}:strikes") == 1
    assert strikes.suspended() == {}


def test_a_store_that_is_away_leaves_suspended_what_was_suspended(
    strikes: Strikes, catalog: Catalog, tmp_path: Path
) -> None:
    answers: list[Callable[[], Any]] = [strikes.suspended]

    def ask() -> Any:
        return answers[-1]()

    def away() -> Any:
        raise StoreUnavailable("away")

    entry = catalog.resolve(NAME)
    for job in "abc":
        strikes.count([LoraRef(name=NAME, sha256=entry.sha256)], job, "code")
    held = Catalog(tmp_path / "loras", "tiny", suspended=ask)
    held.scan()
    answers.append(away)
    held.scan()
    with pytest.raises(LoraQuarantined):
        held.resolve(NAME)


def test_pictures_of_another_size_are_compared(guards: Guards) -> None:
    given = np.zeros((150, 160, 3), np.uint8)
    output = with_code(np.zeros((300, 320, 3), np.uint8))
    assert guards.check_output(given, output).safety.flags == ["code"]
