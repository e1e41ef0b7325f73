"""One real worker process with the fake engine: from a hint to a committed picture."""

import io
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from PIL import Image

from shared.blobs import BlobStore, open_blobs
from shared.jobs import EventKind, Job, JobSpec, JobState
from shared.ledger.fleet import Fleet
from shared.ledger.queue import Hints, make_celery
from shared.ledger.records import read_event
from shared.ledger.store import JobStore
from shared.params import LoraMode
from shared.settings import Settings
from tests.support.wait import wait_until
from tests.support.workers import picture, running_worker, spec_with_picture
from worker.engine.interface import StopFlag
from worker.engine.testing.fake import fake_picture
from worker.job.attempt import engine_job
from worker.job.sources import load_source


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(lease_seconds=2, renew_seconds=0.5, hint_seconds=1)


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_blobs(settings)


@pytest.fixture
def hints(settings: Settings) -> Hints:
    return Hints(make_celery(settings, "tiny"), "tiny")


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    folder = tmp_path / "faults"
    (folder / "armed").mkdir(parents=True)
    return folder


@pytest.fixture
def worker(
    settings: Settings, redis_client: redis.Redis, faults: Path, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "RETOUCH_ENGINE": "fake",
        "RETOUCH_GUARDS": "off",
        "RETOUCH_FAKE_STEP_SECONDS": "0.05",
        "RETOUCH_REDIS_URL": settings.redis_url,
        "RETOUCH_BASE_MODEL": settings.base_model,
        "RETOUCH_DATA_DIR": str(settings.data_dir),
        "RETOUCH_LEASE_SECONDS": str(settings.lease_seconds),
        "RETOUCH_RENEW_SECONDS": str(settings.renew_seconds),
        "RETOUCH_HINT_SECONDS": str(settings.hint_seconds),
        "RETOUCH_GRACE_SECONDS": "1",
        "RETOUCH_FAKE_FAULTS": str(faults),
        "RETOUCH_RESTART_SECONDS": "0.1",
    }
    fleet = Fleet(redis_client)
    with running_worker(environment, tmp_path / "worker.log") as process:
        wait_until(fleet.workers, description="the worker's heartbeat", seconds=30)
        yield process


def finished(store: JobStore, job_id: str) -> Job:
    def done() -> Job | None:
        job = store.get(job_id)
        return job if job.state.is_terminal else None

    job = wait_until(done, description=f"job {job_id} to end", seconds=20)
    assert job is not None
    return job


@pytest.mark.usefixtures("worker")
def test_a_hinted_job_ends_as_the_one_right_picture(
    store: JobStore, blobs: BlobStore, hints: Hints, redis_client: redis.Redis
) -> None:
    # Given a job before a worker
    data = picture()
    spec = spec_with_picture(blobs, data, lora_mode=LoraMode.NONE)
    store.submit(spec)
    # When its hint is sent
    hints.send(spec.id)
    job = finished(store, spec.id)
    # Then its bytes are the right ones
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    made = blobs.get(job.result.blob)
    assert sha256(made).hexdigest() == job.result.sha256
    expected = fake_picture(engine_job(load_source(data, job.params), job.params, (), StopFlag()))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(made))), expected)
    # And the percentages of its events rise from stage to stage up to 100
    events = [read_event(*entry) for entry in redis_client.xrange(f"job:{spec.id}:events")]
    percents = [event.data["percent"] for event in events if "percent" in event.data]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len(set(percents)) >= 6
    assert [event.kind for event in events].count(EventKind.PREVIEW) == 1
    assert events[-1].is_last


@pytest.mark.usefixtures("worker")
def test_a_worker_with_spoiled_weights_gives_its_place_and_its_job_to_another(
    store: JobStore, blobs: BlobStore, hints: Hints, faults: Path
) -> None:
    # Given a job at work
    spec = spec_with_picture(blobs, picture(), lora_mode=LoraMode.NONE, steps=50, strength=1.0)
    store.submit(spec)
    hints.send(spec.id)
    wait_until(lambda: store.get(spec.id).state is JobState.RUNNING, description="the job to run")
    # When its engine finds that the weights have changed
    (faults / "armed" / ".complaint").write_text("the base's weights have changed (unet.x)")
    (faults / "armed" / ".complaint").rename(faults / "armed" / "complaint")
    job = finished(store, spec.id)
    # Then a new process has made the picture
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2
    assert store.counts()["ended:weights_changed"] == 1


@pytest.mark.usefixtures("worker")
def test_a_job_whose_hint_was_lost_is_found(store: JobStore, blobs: BlobStore) -> None:
    spec = spec_with_picture(blobs, picture())
    store.submit(spec)
    assert finished(store, spec.id).state is JobState.SUCCEEDED


@pytest.mark.usefixtures("worker")
def test_a_running_job_stops_within_a_step_of_its_cancel(
    store: JobStore, blobs: BlobStore, hints: Hints
) -> None:
    spec = spec_with_picture(blobs, picture(), steps=50, strength=1.0)
    store.submit(spec)
    hints.send(spec.id)
    wait_until(lambda: store.get(spec.id).progress.step, description="the first step")
    store.cancel(spec.id)
    step = store.get(spec.id).progress.step
    job = finished(store, spec.id)
    assert job.state is JobState.CANCELED
    assert job.progress.step <= step + 2
    assert job.result is None


@pytest.fixture
def told(settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """What a monitor of Celery hears of hints."""
    app, events = make_celery(settings, "tiny"), list[dict[str, Any]]()
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": events.append})
        listens, begin = threading.Event(), receiver.on_consume_ready

        def on_consume_ready(*args: Any, **more: Any) -> None:
            begin(*args, **more)
            listens.set()

        receiver.on_consume_ready = on_consume_ready
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None})
        thread.daemon = True
        thread.start()
        # What a worker tells before is lost.
        assert listens.wait(60)
        yield events
        receiver.should_stop = True
        thread.join(10)


@pytest.mark.usefixtures("worker")
def test_a_monitor_is_told_how_jobs_end_and_of_no_job_that_did_not_run(
    store: JobStore, blobs: BlobStore, hints: Hints, told: list[dict[str, Any]]
) -> None:
    # Given a worker that consumes hints; while it starts, it runs jobs without them
    hints.send("f" * 32, "interactive")
    wait_until(
        lambda: any(event["type"] == "task-succeeded" for event in told),
        description="a hint to be consumed",
        seconds=30,
    )

    def begin(spec: JobSpec) -> str:
        store.submit(spec)
        hints.send(spec.id, "interactive")
        return spec.id

    def good() -> str:
        return begin(spec_with_picture(blobs, picture(seed=1)))

    def failing() -> str:
        spec = spec_with_picture(blobs, picture(seed=2))
        blobs.delete(spec.source.blob)
        return begin(spec)

    def canceled() -> str:
        job = begin(spec_with_picture(blobs, picture(), steps=50, strength=1.0))
        wait_until(lambda: store.get(job).progress.step, description="the first step")
        store.cancel(job)
        return job

    # A job that succeeds, one that is canceled while it runs, and one that fails
    ended_well = heard_end(store, told, good, "succeeded", "{job}")
    ended_early = heard_end(store, told, canceled, "revoked", "")
    heard_end(store, told, failing, "failed", "{job}: image_not_found")
    assert is_told(told, "succeeded", ended_well)
    assert not is_told(told, "succeeded", ended_early)
    received = {e["args"] for e in told if e["type"] == "task-received"}
    # Without its hint, which a busy machine may deliver late, a job's priority is not known.
    assert {"(tiny, interactive)"} <= received <= {"(tiny, interactive)", "(tiny)"}


def is_told(told: list[dict[str, Any]], kind: str, words: str) -> bool:
    ends = {f"{e['type']} {e.get('result')}{e.get('exception')}" for e in told}
    return any(end.startswith(f"task-{kind} ") and words in end for end in ends)


def heard_end(
    store: JobStore, told: list[dict[str, Any]], begin: Callable[[], str], kind: str, words: str
) -> str:
    """The first of some jobs whose end is told. A hint that arrives after the worker has found its
    job by itself, as on a busy machine, tells of no job.
    """
    for _ in range(5):
        job = begin()
        finished(store, job)
        with suppress(AssertionError):
            wait_until(
                partial(is_told, told, kind, words.format(job=job)), description=kind, seconds=3
            )
            return job
    raise AssertionError(f"no monitor heard of the end of five jobs: {kind}")


@pytest.mark.usefixtures("worker")
def test_a_job_that_fails_leaves_the_worker_fit_for_the_next(
    store: JobStore, blobs: BlobStore, hints: Hints
) -> None:
    broken = spec_with_picture(blobs, picture())
    blobs.delete(broken.source.blob)
    good = spec_with_picture(blobs, picture(seed=1))
    for spec in (broken, good):
        store.submit(spec)
        hints.send(spec.id)
    failed = finished(store, broken.id)
    assert failed.failure is not None
    assert failed.failure.code == "image_not_found"
    assert finished(store, good.id).state is JobState.SUCCEEDED


def test_a_stopped_worker_gives_back_what_does_not_fit_its_grace(
    store: JobStore,
    blobs: BlobStore,
    hints: Hints,
    worker: subprocess.Popen[bytes],
    redis_client: redis.Redis,
) -> None:
    spec = spec_with_picture(blobs, picture(), steps=50, strength=1.0)
    store.submit(spec)
    hints.send(spec.id)
    wait_until(lambda: store.get(spec.id).progress.step, description="the first step")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    job = store.get(spec.id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    assert Fleet(redis_client).workers() == []


def test_a_killed_workers_job_is_taken_back_when_its_lease_ends(
    store: JobStore, blobs: BlobStore, hints: Hints, worker: subprocess.Popen[bytes]
) -> None:
    spec = spec_with_picture(blobs, picture(), steps=50, strength=1.0)
    store.submit(spec)
    hints.send(spec.id)
    wait_until(lambda: store.get(spec.id).progress.step, description="the first step")
    worker.kill()
    worker.wait()
    wait_until(store.reap_expired, description="the lease to run out", seconds=5)
    job = store.get(spec.id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
