"""The reaper: what it takes back, what it hints again, and when it holds still."""

import os
import threading
import time
from collections.abc import Callable

import pytest
import redis

from shared.blobs import open_blobs
from shared.errors import ImageNotFound, StoreUnavailable
from shared.jobs import JobState, Preview
from shared.ledger.fleet import Fleet
from shared.ledger.leftovers import preview_blob, result_blob
from shared.ledger.reaper import Reaper
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.fleet import live_worker
from tests.support.jobs import make_spec
from tests.support.wait import wait_until
from tests.support.workers import picture, spec_with_picture


class SentHints:
    """Hints that were sent, instead of a broker."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.bases: list[str] = []
        self.waiting = 0

    def send(self, job_id: str, base: str) -> None:
        self.ids.append(job_id)
        self.bases.append(base)

    def pending(self, base: str) -> int:
        del base
        return self.waiting


class AwayHints(SentHints):
    """A broker that does not answer, beside a store that does."""

    rounds = 0

    def pending(self, base: str) -> int:
        del base
        self.rounds += 1
        raise StoreUnavailable("the broker does not answer")


def make_reaper(store: JobStore, settings: Settings, hints: SentHints) -> Reaper:
    return Reaper(store, hints, open_blobs(settings), settings)  # type: ignore[arg-type]


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(lease_seconds=0.2, renew_seconds=0.1, hint_seconds=0.1)


@pytest.fixture
def old_store(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    """A store that has been up for long."""
    monkeypatch.setattr(store, "uptime_seconds", lambda: 3600)
    return store


def test_an_expired_lease_is_taken_back_and_hinted_in_one_tick(
    old_store: JobStore, settings: Settings
) -> None:
    hints = SentHints()
    job_id = old_store.submit(make_spec())
    old_store.claim("tiny", "gone")
    time.sleep(0.25)
    make_reaper(old_store, settings, hints).tick()
    assert old_store.get(job_id).state is JobState.QUEUED
    assert hints.ids == [job_id]


def test_after_the_stores_own_restart_a_lease_has_its_full_time(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = store.submit(make_spec())
    store.claim("tiny", "slow to reconnect")
    time.sleep(0.25)
    monkeypatch.setattr(store, "uptime_seconds", lambda: 0)
    make_reaper(store, settings, SentHints()).tick()
    assert store.get(job_id).state is JobState.RUNNING


def test_after_an_outage_it_waits_one_lease(
    old_store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reaper whose first tick meets a store that is away
    job_id = old_store.submit(make_spec())
    old_store.claim("tiny", "w")
    time.sleep(0.25)
    reaper = make_reaper(old_store, settings, SentHints())
    away = threading.Event()

    def elect(*_: object) -> bool:
        if not away.is_set():
            away.set()
            raise StoreUnavailable("away")
        return True

    monkeypatch.setattr(old_store, "elect", elect)
    reaper.start()
    assert away.wait(5)
    # When it ticks again at once, then nothing is taken back
    reaper.stop()
    reaper.tick()
    assert old_store.get(job_id).state is JobState.RUNNING
    # And when one lease has passed, it is
    time.sleep(0.25)
    reaper.tick()
    assert old_store.get(job_id).state is JobState.QUEUED


def test_leases_run_out_while_the_broker_is_away(
    old_store: JobStore, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reaper whose rounds, several to a lease, meet no broker
    monkeypatch.setattr("shared.ledger.reaper.TICK_SECONDS", 0.1)
    settings, hints = make_settings(lease_seconds=1, renew_seconds=0.2), AwayHints()
    old_store.submit(make_spec(base="other"))
    reaper = make_reaper(old_store, settings, hints)
    reaper.start()
    wait_until(lambda: hints.rounds, description="a round without a broker")
    # When a worker dies, then its job is taken back
    job_id = old_store.submit(make_spec())
    old_store.claim("tiny", "gone")
    wait_until(
        lambda: old_store.get(job_id).state is JobState.QUEUED, description="the job to be queued"
    )
    reaper.stop()


def test_one_reaper_sends_the_hints_of_every_base_to_its_own_queue(
    old_store: JobStore, settings: Settings
) -> None:
    bases = ("sd15/a", "sd15/b", "tiny")
    ids = {base: old_store.submit(make_spec(base=base)) for base in bases}
    time.sleep(0.15)
    hints = SentHints()
    make_reaper(old_store, settings, hints).tick()
    assert dict(zip(hints.bases, hints.ids, strict=True)) == ids


def test_a_base_is_forgotten_with_its_last_waiting_job(old_store: JobStore) -> None:
    old_store.submit(make_spec(base="sdxl/a"))
    assert old_store.queues() == ["sdxl/a"]
    claimed = old_store.claim("sdxl/a", "w")
    assert claimed is not None
    assert old_store.queues() == []
    old_store.release(claimed)
    assert old_store.queues() == ["sdxl/a"]


def test_the_input_of_a_job_that_waits_for_long_does_not_expire(
    old_store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an input that is older than pictures live, of a job that nobody has done yet
    blobs = open_blobs(settings)
    old_store.submit(spec_with_picture(blobs, picture(seed=1)))
    ended = spec_with_picture(blobs, picture(seed=2))
    old_store.submit(ended)
    old_store.cancel(ended.id)
    for path in (settings.data_dir / "blobs" / "sources").iterdir():
        os.utime(path, (0, 0))
    # When it is swept
    monkeypatch.setattr("shared.ledger.reaper.SWEEP_SECONDS", 0.0)
    make_reaper(old_store, settings, SentHints()).tick()
    # Then only the input of what has ended is gone
    left = {f"sources/{path.name}" for path in (settings.data_dir / "blobs" / "sources").iterdir()}
    assert left == old_store.sources_in_use()
    assert len(left) == 1


def test_no_more_hints_are_sent_than_there_are_jobs_without(
    old_store: JobStore, settings: Settings
) -> None:
    for _ in range(3):
        old_store.submit(make_spec())
    time.sleep(0.15)
    hints = SentHints()
    hints.waiting = 3
    reaper = make_reaper(old_store, settings, hints)
    reaper.tick()
    assert hints.ids == []
    hints.waiting = 2
    reaper.tick()
    assert len(hints.ids) == 1


def test_what_a_lost_attempt_left_is_deleted_with_its_lease(
    old_store: JobStore, settings: Settings
) -> None:
    blobs = open_blobs(settings)
    job_id = old_store.submit(make_spec())
    claim = old_store.claim("tiny", "gone")
    assert claim is not None
    left = [result_blob(job_id, claim.epoch, "png"), preview_blob(job_id, claim.epoch)]
    for name in left:
        blobs.put(name, b"never committed, never reported")
    time.sleep(0.25)
    make_reaper(old_store, settings, SentHints()).tick()
    for name in left:
        with pytest.raises(ImageNotFound):
            blobs.get(name)


def test_a_preview_that_clients_were_told_of_survives_its_attempt(
    old_store: JobStore, settings: Settings
) -> None:
    blobs = open_blobs(settings)
    job_id = old_store.submit(make_spec())
    claim = old_store.claim("tiny", "gone")
    assert claim is not None
    name = preview_blob(job_id, claim.epoch)
    blobs.put(name, b"reported")
    old_store.report_preview(claim, Preview(blob=name, width=1, height=1))
    time.sleep(0.25)
    make_reaper(old_store, settings, SentHints()).tick()
    assert blobs.get(name) == b"reported"


def test_an_earlier_preview_goes_with_an_attempt_that_died_before_it_could_forget_it(
    old_store: JobStore, settings: Settings
) -> None:
    # Given two attempts that each told of a preview, and died at once
    blobs = open_blobs(settings)
    reaper = make_reaper(old_store, settings, SentHints())
    job_id = old_store.submit(make_spec())
    names = []
    for worker in ("first", "second"):
        claim = old_store.claim("tiny", worker)
        assert claim is not None
        names.append(preview_blob(job_id, claim.epoch))
        blobs.put(names[-1], b"reported")
        old_store.report_preview(claim, Preview(blob=names[-1], width=1, height=1))
        # When
        time.sleep(0.25)
        reaper.tick()
    # Then only the newer one is there
    assert not blobs.touch(names[0])
    assert blobs.touch(names[1])


def test_only_one_of_two_reapers_acts(old_store: JobStore, settings: Settings) -> None:
    first, second = SentHints(), SentHints()
    make_reaper(old_store, settings, first).tick()
    old_store.submit(make_spec())
    time.sleep(0.15)
    make_reaper(old_store, settings, second).tick()
    assert second.ids == []


def test_a_worker_without_a_heartbeat_is_forgotten(redis_client: redis.Redis) -> None:
    fleet = Fleet(redis_client)
    for name in ("a", "b"):
        fleet.announce(live_worker(name))
    redis_client.delete("worker:a")
    assert [worker.id for worker in fleet.workers()] == ["b"]
    fleet.withdraw("b")
    assert fleet.workers() == []
