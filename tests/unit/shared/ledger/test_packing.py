"""Finished jobs are packed some minutes after their end: small, and still what they were."""

from typing import Any

import redis

from shared.jobs import Failure, Job, JobState, Preview, Progress, Stage, Timings
from shared.ledger.store import JobStore
from shared.params import JobParams, LoraRef
from tests.support.fleet import claim, progress
from tests.support.jobs import make_result, make_spec

END = Progress(stage=Stage.SAVING, percent=100.0, step=4, total_steps=4, eta_seconds=0.0)


def finished(store: JobStore) -> Job:
    """A job with all that a real one leaves behind."""
    params = JobParams(
        loras=[LoraRef(name="restore", scale=1.0, sha256="a" * 64)],
        seed=7,
        prompt="high quality, sharp, clean, 4k, detailed skin texture",
        lora_reason="noise was measured at 12.1, blur at 2.0, and JPEG blocks at 0.4",
        lora_reason_zh="测得噪声 12.1，模糊 2.0，JPEG 块效应 0.4",
    )
    spec = make_spec()
    store.submit(spec)
    claimed = claim(store)
    store.report_params(claimed, params)
    store.report_preview(claimed, Preview(blob="previews/a", width=128, height=96))
    for percent in range(40):
        store.report_progress(claimed, progress(float(percent)))
    store.commit(claimed, make_result(), END, Timings(total_seconds=1.0), [])
    return store.get(spec.id)


def used(client: Any, job_id: str) -> int:
    return sum(client.memory_usage(key) for key in client.keys(f"*{job_id}*"))


def test_a_packed_job_is_small_and_says_what_it_said(
    store: JobStore, redis_client: redis.Redis
) -> None:
    before = finished(store)
    large, life = used(redis_client, before.id), redis_client.ttl(f"job:{before.id}")

    assert store.pack_finished(0, 10) == 1

    after = store.get(before.id)
    assert after.model_dump(exclude={"spec"}) == before.model_dump(exclude={"spec"})
    assert (after.spec.source, after.spec.client) == (before.spec.source, before.spec.client)
    assert used(redis_client, before.id) <= 2048 < large
    assert 0 < redis_client.ttl(f"job:{before.id}") <= life
    assert not redis_client.exists(f"job:{before.id}:events", f"ended:{before.id}")
    assert store.jobs_of(before.spec.client, None, 10) == [after]


def test_a_job_is_packed_once_and_not_before_its_time(store: JobStore) -> None:
    job = finished(store)

    assert store.pack_finished(600, 10) == 0
    assert store.has_events(job.id)
    assert store.pack_finished(0, 10) == 1
    assert store.pack_finished(0, 10) == 0


def test_failed_and_canceled_jobs_are_packed_too(store: JobStore) -> None:
    failed, canceled = make_spec(), make_spec()
    store.submit(failed)
    store.fail(claim(store), Failure(code="internal_error", message="no"), Timings())
    store.submit(canceled)
    store.cancel(canceled.id)

    assert store.pack_finished(0, 10) == 2

    assert store.get(failed.id).failure == Failure(code="internal_error", message="no")
    assert store.get(canceled.id).state is JobState.CANCELED


def test_a_commit_whose_answer_was_lost_is_confirmed_after_packing_as_well(
    store: JobStore,
) -> None:
    store.submit(make_spec())
    claimed = claim(store)
    outcomes = []
    for _ in range(2):
        outcomes.append(store.commit(claimed, make_result(), END, Timings(), []))
        store.pack_finished(0, 10)

    assert outcomes == ["committed", "committed"]


def test_what_is_unreadable_or_gone_does_not_stop_the_packing(
    store: JobStore, redis_client: redis.Redis
) -> None:
    gone, broken, kept = finished(store), finished(store), finished(store)
    redis_client.delete(f"job:{gone.id}")
    redis_client.hset(f"job:{broken.id}", "spec", "{")

    assert store.pack_finished(0, 10) == 3
    assert store.pack_finished(0, 10) == 0
    assert store.get(kept.id).state is JobState.SUCCEEDED


def test_the_newest_event_is_known_after_the_events_are_gone(store: JobStore) -> None:
    job = finished(store)
    _, newest = store.snapshot(job.id)

    store.pack_finished(0, 10)

    assert store.snapshot(job.id)[1] == newest != "0-0"


def test_a_repeated_cancel_of_a_packed_job_changes_nothing(store: JobStore) -> None:
    job = finished(store)
    store.pack_finished(0, 10)

    assert store.cancel(job.id) is JobState.SUCCEEDED
    assert store.get(job.id).result == job.result
