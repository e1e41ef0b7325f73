"""One attempt while store or disk are away for a moment: the job is late, not lost."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from shared.blobs import BlobStore, open_blobs
from shared.errors import LeaseLost, StorageFull, StoreUnavailable
from shared.jobs import Claim, JobState, Progress, Stage, StepSignal
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.loras.catalog import Catalog
from shared.loras.check import check_file
from shared.params import JobParams, LoraMode, LoraRef, Priority
from shared.settings import Settings
from tests.support.workers import picture, spec_with_picture, without_upscalers
from tests.unit.loras.lora_files import tiny_specs, write_lora
from worker.engine.interface import (
    EngineJob,
    EngineResult,
    OnEvent,
    PartDone,
    StopFlag,
    Urgency,
)
from worker.engine.testing.fake import FakeEngine
from worker.engine.thread import Order
from worker.guards.panel import Guards
from worker.job.attempt import engine_job
from worker.job.history import History
from worker.job.leases import LeaseKeeper
from worker.job.lora_choice import Chooser
from worker.job.probe import NoProbe
from worker.job.progress import GAP_SECONDS
from worker.job.pulse import Pulse
from worker.job.runner import Runner, Where


class Faltering:
    """Passes every call on, but the first two of one method fail."""

    def __init__(self, target: object, method: str, error: Exception) -> None:
        self._target, self._method, self._error = target, method, error
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self.failures < 2:
            return self._fail
        return getattr(self._target, name)

    def _fail(self, *_: object) -> object:
        self.failures += 1
        raise self._error


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_blobs(settings)


@pytest.fixture
def run(
    store: JobStore, blobs: BlobStore, redis_client: redis.Redis, settings: Settings
) -> Callable[..., None]:
    """Run the next job with some of the worker's parts replaced."""

    def run_next(**parts: object) -> None:
        engine = FakeEngine("tiny", 0.0)
        ours: dict[str, Any] = {
            "worker_id": "w",
            "base": "tiny",
            "engine": engine,
            "store": store,
            "blobs": blobs,
            "history": History(redis_client, "tiny", "fake"),
            "chooser": Chooser(Catalog(settings.data_dir / "none", "tiny"), "tiny"),
            "enlargements": without_upscalers(),
            "guards": Guards(),
            "strikes": Strikes(redis_client, settings),
            "failures": LoraFailures(redis_client, "tiny"),
            "leases": LeaseKeeper(store, 60.0, 60.0),
            "pulse": Pulse(),
            "probe": NoProbe(),
            "on_device_lost": lambda: None,
        }
        assert Runner(**(ours | parts)).run_next()
        engine.close()

    return run_next


AWAY, FULL = StoreUnavailable("away"), StorageFull("no room")


@pytest.mark.parametrize(
    ("part", "method", "error"),
    [
        ("store", "report_params", AWAY),
        ("store", "report_progress", AWAY),
        ("store", "report_preview", AWAY),
        ("store", "commit", AWAY),
        ("store", "commit", FULL),
        ("history", "costs", AWAY),
        ("history", "learn", AWAY),
        ("blobs", "get", AWAY),
        ("blobs", "put", FULL),
    ],
)
def test_a_moment_without_store_or_disk_fails_no_job(
    run: Callable[..., None],
    store: JobStore,
    blobs: BlobStore,
    redis_client: redis.Redis,
    part: str,
    method: str,
    error: Exception,
) -> None:
    # Given
    spec = spec_with_picture(blobs, picture(), lora_mode="none")
    store.submit(spec)
    whole = {"store": store, "blobs": blobs, "history": History(redis_client, "tiny", "fake")}
    faltering = Faltering(whole[part], method, error)
    # When a job takes long enough for its progress to be told
    engine = FakeEngine("tiny", GAP_SECONDS)
    run(**{"engine": engine, part: faltering})
    engine.close()
    # Then
    job = store.get(spec.id)
    assert faltering.failures > 0
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert blobs.get(job.result.blob)
    assert job.params.guidance_scale is not None


def test_a_preview_that_the_ledger_was_never_told_of_is_deleted(
    run: Callable[..., None], store: JobStore, blobs: BlobStore, settings: Settings
) -> None:
    spec = spec_with_picture(blobs, picture(), lora_mode="none")
    store.submit(spec)
    run(store=Faltering(store, "report_preview", AWAY))
    assert store.get(spec.id).preview is None
    folder = settings.data_dir / "blobs" / "previews"
    assert [path.name for path in folder.iterdir()] == []


class AnswerLost(Faltering):
    """Carries out the first commit; then its answer gets lost, and the lease with it."""

    def __init__(self, store: JobStore, leases: LeaseKeeper) -> None:
        super().__init__(store, "commit", AWAY)
        self._leases = leases
        self._store = store

    def _fail(self, *arguments: Any) -> object:
        if not self.failures:
            self._store.commit(*arguments)
            self._leases.stop_all(LeaseLost())
        return super()._fail()


def test_a_commit_whose_answer_got_lost_keeps_its_picture(
    run: Callable[..., None], store: JobStore, blobs: BlobStore
) -> None:
    spec = spec_with_picture(blobs, picture(), lora_mode="none")
    store.submit(spec)
    leases = LeaseKeeper(store, 60.0, 60.0)
    run(store=AnswerLost(store, leases), leases=leases)
    job = store.get(spec.id)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert blobs.get(job.result.blob)


def test_a_commit_that_is_refused_leaves_no_picture(
    run: Callable[..., None], store: JobStore, blobs: BlobStore, settings: Settings
) -> None:
    spec = spec_with_picture(blobs, picture(), lora_mode="none")
    store.submit(spec)

    class Canceled(NoProbe):
        def reached(self, point: str, *_: object) -> None:
            if point == "stored":
                store.cancel(spec.id)

    run(probe=Canceled())
    assert store.get(spec.id).state is JobState.CANCELED
    assert list((settings.data_dir / "blobs" / "results").iterdir()) == []


class SlowToHear:
    """A store whose first report of progress is answered when the engine is done."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.engine_is_done = threading.Event()
        self.reported: list[Progress] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def report_progress(self, claim: Claim, progress: Progress) -> StepSignal:
        self.reported.append(progress)
        assert self.engine_is_done.wait(10)
        return self._store.report_progress(claim, progress)


class SaysWhenDone(FakeEngine):
    """Tells a store that all its events are out."""

    def __init__(self, told: threading.Event) -> None:
        super().__init__("tiny", GAP_SECONDS / 2)
        self._told = told

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        future = super().submit(job, on_event)
        future.add_done_callback(lambda _: self._told.set())
        return future


def test_progress_that_is_old_before_the_ledger_hears_of_it_is_not_reported(
    run: Callable[..., None], store: JobStore, blobs: BlobStore
) -> None:
    # Given a ledger that is slower than ten steps
    spec = spec_with_picture(blobs, picture(), lora_mode="none", strength=1.0, preview=False)
    store.submit(spec)
    slow = SlowToHear(store)
    # When the job runs
    run(store=slow, engine=SaysWhenDone(slow.engine_is_done))
    # Then the ledger hears of one of its sixteen events
    assert len(slow.reported) == 1
    job = store.get(spec.id)
    assert (job.state, job.progress.step) == (JobState.SUCCEEDED, 10)


@pytest.mark.parametrize(
    ("priority", "urgency"), [("interactive", Urgency.INTERACTIVE), ("batch", Urgency.BATCH)]
)
def test_a_jobs_priority_is_the_engines_too(priority: Priority, urgency: Urgency) -> None:
    params = JobParams(strength=0.4, steps=10, guidance_scale=1.0, seed=1, priority=priority)
    job = engine_job(np.zeros((8, 8, 3), np.uint8), params, (), StopFlag())
    assert job.urgency is urgency


def test_a_jobs_sampler_is_the_engines_and_few_steps_have_timesteps_of_their_own(
    tmp_path: Path,
) -> None:
    write_lora(tmp_path / "lcm_tiny.safetensors", tiny_specs())
    few = check_file(tmp_path / "lcm_tiny.safetensors")
    params = JobParams(strength=0.4, steps=10, guidance_scale=1.0, seed=1)
    pixels = np.zeros((8, 8, 3), np.uint8)
    usual = engine_job(pixels, params, (), StopFlag())
    asked = params.model_copy(update={"sampler": "euler"})
    quick = engine_job(pixels, asked, ((few, 1.0),), StopFlag())
    assert (usual.sampler, usual.trailing) == ("dpmpp_2m", False)
    assert (quick.sampler, quick.trailing) == ("euler", True)


class TilingEngine(FakeEngine):
    """Tells of tiles, as a large picture's are told."""

    def _run(self, job: Order, on_event: OnEvent) -> EngineResult:
        for done in range(1, 5):
            on_event(PartDone(Stage.ENCODING, done, 4))
            on_event(PartDone(Stage.DENOISING, done, 4))
        return super()._run(job, on_event)


def test_a_disk_that_is_full_between_two_tiles_delays_the_picture_and_loses_nothing(
    run: Callable[..., None], store: JobStore, blobs: BlobStore
) -> None:
    # Given a store that cannot keep a tile's progress, and a disk that refuses the file twice
    spec = spec_with_picture(blobs, picture(), lora_mode="none")
    store.submit(spec)
    reports, files = Faltering(store, "report_progress", FULL), Faltering(blobs, "put", FULL)
    # When
    engine = TilingEngine("tiny", GAP_SECONDS)
    run(engine=engine, store=reports, blobs=files)
    engine.close()
    # Then
    job = store.get(spec.id)
    assert (reports.failures, files.failures) == (2, 2)
    assert job.state is JobState.SUCCEEDED
    assert job.progress.percent == 100


@pytest.mark.parametrize(("saving_seconds", "told"), [(0.0001, 0), (10.0, 1)])
def test_of_a_job_that_is_over_at_once_only_its_end_is_told(
    run: Callable[..., None],
    store: JobStore,
    blobs: BlobStore,
    redis_client: redis.Redis,
    saving_seconds: float,
    told: int,
) -> None:
    # Given what saving a picture takes here
    spec = spec_with_picture(blobs, picture(), lora_mode="none", preview=False)
    store.submit(spec)
    redis_client.hset("history:tiny:fake", "saving", saving_seconds / 0.004)
    quick = SlowToHear(store)
    quick.engine_is_done.set()
    # When a job runs whose engine takes no time
    run(store=quick)
    # Then nothing is told in between, unless saving is going to take its time
    assert [progress.stage for progress in quick.reported] == [Stage.SAVING] * told
    assert store.get(spec.id).state is JobState.SUCCEEDED


class Remembering(FakeEngine):
    """Remembers every job's size and whether it was to show a preview."""

    def __init__(self) -> None:
        super().__init__("tiny", 0.0)
        self.seen: list[tuple[tuple[int, ...], bool]] = []

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        self.seen.append((job.pixels.shape, job.preview))
        return super().submit(job, on_event)


def test_a_job_at_several_sizes_goes_from_coarse_to_fine(
    run: Callable[..., None], store: JobStore, blobs: BlobStore
) -> None:
    # Given
    spec = spec_with_picture(blobs, picture(256, 128), upscale=1, pyramid=2)
    store.submit(spec)
    engine = Remembering()
    # When
    run(engine=engine)
    # Then the first pass shows the preview, and the result has the picture's size
    assert engine.seen == [((64, 128, 3), True), ((128, 256, 3), False)]
    job = store.get(spec.id)
    assert job is not None
    assert job.result is not None
    assert (job.state, job.result.width, job.result.height) == (JobState.SUCCEEDED, 256, 128)


# --- files that this worker does not have


@pytest.mark.parametrize(
    ("where", "state"),
    [
        (Where.ELSEWHERE, JobState.QUEUED),
        (Where.NOWHERE, JobState.FAILED),
        (Where.HERE, JobState.FAILED),
    ],
)
def test_a_job_whose_file_another_worker_has_is_left_to_it_and_fails_otherwise(
    run: Callable[..., None],
    store: JobStore,
    blobs: BlobStore,
    where: Where,
    state: JobState,
) -> None:
    spec = spec_with_picture(blobs, picture())
    loras = [LoraRef(name="new", scale=1.0, sha256="a" * 64)]
    params = spec.params.model_copy(update={"loras": loras, "lora_mode": LoraMode.NAMED})
    store.submit(spec.model_copy(update={"params": params}))

    run(whereabouts=lambda _loras, _base: where)

    job = store.get(spec.id)
    assert job.state is state
    if state is JobState.QUEUED:
        assert store.claim("tiny", "w") is None
        assert store.claim("tiny", "other") is not None
    else:
        assert job.failure is not None
        assert job.failure.code == "lora_changed"
