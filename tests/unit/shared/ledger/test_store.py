"""The ledger: what may follow what, on a real store."""

import threading
import time
from collections.abc import Callable

import pytest
import redis

from shared.errors import (
    IdempotencyKeyReuse,
    JobNotFound,
    QueueFull,
    StepTimeout,
    StorageFull,
    StoreUnavailable,
)
from shared.jobs import Claim, EventKind, Failure, JobState, Progress, Stage, StepSignal, Timings
from shared.ledger.records import Idempotency, read_event
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore, MustRunAlone
from shared.params import JobParams
from shared.settings import Settings
from tests.support.jobs import make_result, make_spec

FINISHED = Progress(percent=100.0)


def submitted(store: JobStore, **spec: object) -> str:
    return store.submit(make_spec(**spec))  # type: ignore[arg-type]


def claimed(store: JobStore, worker: str = "w1") -> Claim:
    claim = store.claim("tiny", worker)
    assert claim is not None
    return claim


def commit(store: JobStore, claim: Claim) -> str:
    return store.commit(claim, make_result(), FINISHED, Timings(), [])


def kinds_and_states(client: redis.Redis, job_id: str) -> list[tuple[str, object]]:
    events = [read_event(*entry) for entry in client.xrange(f"job:{job_id}:events")]
    return [
        (str(event.kind), event.data.get("state", event.data.get("percent"))) for event in events
    ]


def expire_leases(client: redis.Redis) -> None:
    for job_id in client.zrange("running", 0, -1):
        client.zadd("running", {str(job_id): 1})


def test_a_submitted_job_is_queued_and_can_be_read_back(store: JobStore) -> None:
    spec = make_spec()
    job = store.get(store.submit(spec))
    assert (job.spec, job.state, job.attempt, job.epoch) == (spec, JobState.QUEUED, 0, 0)


def test_an_unknown_job_is_not_found(store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        store.get("nobody")
    with pytest.raises(JobNotFound):
        store.cancel("nobody")


def test_a_claim_is_exclusive(store: JobStore) -> None:
    submitted(store)
    claimed(store)
    assert store.claim("tiny", "w2") is None


def test_a_claim_that_is_repeated_because_its_answer_got_lost_is_the_same_one(
    store: JobStore,
) -> None:
    ids = [submitted(store), submitted(store)]
    first = store.claim("tiny", "w1", ticket="t")
    again = store.claim("tiny", "w1", ticket="t")
    assert first is not None
    assert again is not None
    assert (again.spec.id, again.epoch, again.attempt) == (ids[0], first.epoch, 1)
    assert store.queue_size("tiny") == 1
    # And not one that is over, or another worker's
    other = store.claim("tiny", "w2", ticket="t")
    assert other is not None
    assert other.spec.id == ids[1]
    commit(store, first)
    assert store.claim("tiny", "w1", ticket="t") is None


def test_a_job_of_another_base_is_not_claimed(store: JobStore) -> None:
    submitted(store, base="sdxl")
    assert store.claim("tiny", "w1") is None


def test_many_workers_at_once_claim_each_job_once(store: JobStore) -> None:
    ids = {submitted(store) for _ in range(40)}
    claims: list[str] = []

    def drain(worker: str) -> None:
        while (claim := store.claim("tiny", worker)) is not None:
            claims.append(claim.spec.id)

    threads = [threading.Thread(target=drain, args=(f"w{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == sorted(ids)


def test_a_commit_makes_the_job_succeed_and_says_so_in_order(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    claim = claimed(store)
    store.report_progress(
        claim, Progress(stage=Stage.DENOISING, percent=40.0, step=1, total_steps=4)
    )
    assert commit(store, claim) == "committed"
    job = store.get(job_id)
    assert (job.state, job.progress.percent) == (JobState.SUCCEEDED, 100.0)
    assert job.result == make_result()
    assert kinds_and_states(redis_client, job_id) == [
        ("state", "queued"),
        ("state", "running"),
        ("progress", 40.0),
        ("progress", 100.0),
        ("state", "succeeded"),
        ("result", None),
    ]


def test_a_second_commit_is_refused(store: JobStore) -> None:
    submitted(store)
    claim = claimed(store)
    commit(store, claim)
    other = make_result().model_copy(update={"blob": "results/other"})
    assert store.commit(claim, other, Progress(percent=100.0), Timings(), []) == "lost"


def test_a_commit_that_is_repeated_because_its_answer_got_lost_still_holds(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    claim = claimed(store)
    commit(store, claim)
    before = redis_client.xlen(f"job:{job_id}:events")
    assert commit(store, claim) == "committed"
    assert redis_client.xlen(f"job:{job_id}:events") == before


def test_a_submit_that_is_repeated_because_its_answer_got_lost_changes_nothing(
    store: JobStore,
) -> None:
    spec = make_spec()
    store.submit(spec)
    claim = claimed(store)
    assert store.submit(spec) == spec.id
    job = store.get(spec.id)
    assert (job.state, job.epoch) == (JobState.RUNNING, claim.epoch)
    assert store.queue_size("tiny") == 0


def test_a_stale_worker_can_write_nothing(store: JobStore, redis_client: redis.Redis) -> None:
    # Given a job that was taken from its first worker and claimed by a second
    job_id = submitted(store)
    stale = claimed(store, "w1")
    expire_leases(redis_client)
    store.reap_expired()
    fresh = claimed(store, "w2")
    events = kinds_and_states(redis_client, job_id)
    # When the first one reports, renews, fails, releases and commits
    assert store.report_progress(stale, Progress(percent=90.0)) is StepSignal.LOST
    assert store.renew(stale) is StepSignal.LOST
    assert not store.fail(stale, Failure(code="internal_error", message=""), Timings())
    assert not store.release(stale)
    assert commit(store, stale) == "lost"
    # Then nothing has changed, and the second one's commit stands
    assert kinds_and_states(redis_client, job_id) == events
    assert fresh.epoch == stale.epoch + 1
    assert commit(store, fresh) == "committed"


def test_the_percentage_never_goes_back_even_on_a_second_attempt(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    store.report_progress(claimed(store), Progress(percent=70.0))
    expire_leases(redis_client)
    store.reap_expired()
    store.report_progress(claimed(store), Progress(percent=10.0, stage=Stage.LOADING))
    job = store.get(job_id)
    assert (job.progress.percent, job.progress.stage) == (70.0, Stage.LOADING)
    assert kinds_and_states(redis_client, job_id)[-1] == ("progress", 70)


def test_a_renewal_succeeds_past_the_leases_end_while_nobody_else_claimed(
    store: JobStore, redis_client: redis.Redis
) -> None:
    submitted(store)
    claim = claimed(store)
    expire_leases(redis_client)
    assert store.renew(claim) is StepSignal.GO_ON
    assert store.reap_expired() == []


def test_a_job_that_crashes_too_often_fails_and_says_why(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    for _ in range(3):
        claimed(store)
        expire_leases(redis_client)
        store.reap_expired()
    job = store.get(job_id)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.code == "crashed_too_often"
    assert store.claim("tiny", "w1") is None
    assert kinds_and_states(redis_client, job_id)[-1][0] == EventKind.ERROR


def test_a_released_job_keeps_its_place_and_its_attempts(store: JobStore) -> None:
    first, _second = submitted(store), submitted(store)
    assert store.release(claimed(store))
    assert store.get(first).attempt == 0
    assert claimed(store).spec.id == first


def test_only_the_dead_workers_jobs_are_taken_back_at_once(store: JobStore) -> None:
    first, second = submitted(store), submitted(store)
    claimed(store, "dead")
    claimed(store, "alive")
    assert [reaped.job_id for reaped in store.reap_worker("dead")] == [first]
    assert store.get(second).state is JobState.RUNNING


def test_a_stopped_workers_jobs_are_taken_back_without_blame(store: JobStore) -> None:
    job_id = submitted(store)
    for _ in range(5):
        claimed(store, "stopped")
        store.reap_worker("stopped", blame=False)
    job = store.get(job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    assert store.counts()["released"] == 5


def test_canceling_a_queued_job_ends_it_at_once(store: JobStore, redis_client: redis.Redis) -> None:
    job_id = submitted(store)
    assert store.cancel(job_id) is JobState.CANCELED
    assert store.claim("tiny", "w1") is None
    assert store.cancel(job_id) is JobState.CANCELED
    assert kinds_and_states(redis_client, job_id)[-1] == ("state", "canceled")


def test_after_an_acknowledged_cancel_no_result_is_ever_committed(store: JobStore) -> None:
    job_id = submitted(store)
    claim = claimed(store)
    assert store.cancel(job_id) is JobState.RUNNING
    assert store.report_progress(claim, Progress(percent=5.0)) is StepSignal.CANCELED
    assert commit(store, claim) == "canceled"
    store.fail(claim, None, Timings())
    assert store.get(job_id).state is JobState.CANCELED


def test_a_failure_after_an_acknowledged_cancel_is_a_cancel(store: JobStore) -> None:
    job_id = submitted(store)
    claim = claimed(store)
    store.cancel(job_id)
    store.fail(claim, Failure(code="out_of_memory", message=""), Timings())
    assert store.get(job_id).state is JobState.CANCELED


def test_a_canceled_job_of_a_dead_worker_is_canceled_not_run_again(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    claimed(store)
    store.cancel(job_id)
    expire_leases(redis_client)
    store.reap_expired()
    assert store.get(job_id).state is JobState.CANCELED


def test_a_done_job_stays_done_when_canceled(store: JobStore) -> None:
    job_id = submitted(store)
    commit(store, claimed(store))
    assert store.cancel(job_id) is JobState.SUCCEEDED


def test_clients_take_turns_so_that_a_flood_starves_nobody(store: JobStore) -> None:
    for _ in range(20):
        submitted(store, client="flood")
    submitted(store, client="patient")
    clients = [claimed(store).spec.client for _ in range(4)]
    assert "patient" in clients[:2]


def test_interactive_jobs_go_first_and_batch_jobs_do_not_starve(store: JobStore) -> None:
    for _ in range(20):
        submitted(store, priority="interactive")
    for _ in range(2):
        submitted(store, priority="batch")
    order = [claimed(store).spec.params.priority for _ in range(16)]
    assert order[0] == "interactive"
    assert order.count("batch") == 2


def test_the_place_in_the_queue_is_the_number_of_jobs_ahead(store: JobStore) -> None:
    mine = [submitted(store, client="a") for _ in range(3)]
    others = [submitted(store, client="b") for _ in range(2)]
    places = {job_id: store.get(job_id).queue_position for job_id in mine + others}
    order = [claimed(store).spec.id for _ in range(5)]
    assert [places[job_id] for job_id in order] == [0, 1, 2, 3, 4]


def test_a_full_queue_refuses_and_takes_again(
    redis_client: redis.Redis, make_settings: Callable[..., Settings]
) -> None:
    store = JobStore(redis_client, make_settings(queue_limit=2))
    submitted(store)
    submitted(store)
    with pytest.raises(QueueFull):
        submitted(store)
    claimed(store)
    submitted(store)


def test_equal_requests_with_one_key_are_one_job(store: JobStore) -> None:
    same = Idempotency("key", "print")
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(store.submit(make_spec(), same)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20
    assert len(set(ids)) == 1
    assert store.queue_size("tiny") == 1
    assert store.find_replay("anonymous", same) == ids[0]


def test_an_unequal_request_with_a_used_key_is_refused(store: JobStore) -> None:
    store.submit(make_spec(), Idempotency("key", "one"))
    with pytest.raises(IdempotencyKeyReuse):
        store.submit(make_spec(), Idempotency("key", "two"))
    store.submit(make_spec(client="other"), Idempotency("key", "two"))


def test_a_job_without_a_fresh_hint_is_hinted_again_with_backoff(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    assert store.overdue("tiny", 10) == []
    redis_client.hset(f"job:{job_id}", "hinted_ms", 0)
    assert store.overdue("tiny", 10) == [job_id]
    assert store.overdue("tiny", 10) == []


def test_settled_parameters_replace_what_was_left_open(store: JobStore) -> None:
    job_id = submitted(store)
    claim = claimed(store)
    store.report_params(claim, JobParams(seed=7, strength=0.3, prompt="sharp"))
    assert store.get(job_id).params.prompt == "sharp"
    assert store.get(job_id).spec.params.prompt is None


def test_a_clients_jobs_come_newest_first(store: JobStore) -> None:
    ids = [submitted(store, client="a") for _ in range(3)]
    submitted(store, client="b")
    assert {job.id for job in store.jobs_of("a", None, 10)} == set(ids)
    assert len(store.jobs_of("a", None, 2)) == 2


def test_one_process_holds_a_role_at_a_time(store: JobStore) -> None:
    assert store.elect("reaper", "one", 5)
    assert not store.elect("reaper", "two", 5)
    assert store.elect("reaper", "one", 5)


def test_a_store_that_is_down_is_said_within_two_seconds(settings: Settings) -> None:
    store = JobStore(connect("redis://127.0.0.1:1/0"), settings)
    with pytest.raises(StoreUnavailable):
        store.get("any")


def test_a_snapshot_names_the_last_event_that_it_reflects(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    claimed(store)
    job, last = store.snapshot(job_id)
    assert job.state is JobState.RUNNING
    assert redis_client.xrange(f"job:{job_id}:events", min=f"({last}") == []


def test_a_job_that_was_in_hand_when_a_worker_died_runs_alone(store: JobStore) -> None:
    # Given two jobs of a worker that died, and two others behind them
    ids = [submitted(store) for _ in range(4)]
    claimed(store, "dead")
    claimed(store, "dead")
    store.reap_worker("dead")
    # When another worker takes the first of them
    suspect = claimed(store, "w1")
    # Then it gets nothing else beside it, and a third one with something in hand waits as well
    with pytest.raises(MustRunAlone):
        store.claim("tiny", "w1")
    second = claimed(store, "w2")
    assert {suspect.spec.id, second.spec.id} == set(ids[:2])
    # And once it is alone no more, it goes on two at a time
    commit(store, suspect)
    claimed(store, "w1")
    claimed(store, "w1")


def test_a_suspect_waits_for_a_worker_with_empty_hands(store: JobStore) -> None:
    submitted(store)
    busy = claimed(store, "busy")
    submitted(store)
    claimed(store, "dead")
    store.reap_worker("dead")
    with pytest.raises(MustRunAlone):
        store.claim("tiny", "busy")
    commit(store, busy)
    assert claimed(store, "busy").attempt == 2


def test_the_last_attempts_end_names_the_failure(
    redis_client: redis.Redis, make_settings: Callable[..., Settings]
) -> None:
    store = JobStore(redis_client, make_settings(max_crashes=1))
    job_id = submitted(store)
    claimed(store, "hung")
    store.reap_worker("hung", StepTimeout)
    failure = store.get(job_id).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == ("step_timeout", True)


def test_a_store_without_memory_refuses_jobs_and_finishes_those_it_has(
    store: JobStore, redis_client: redis.Redis
) -> None:
    running, waiting = submitted(store), submitted(store)
    claim = claimed(store)
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StorageFull):
            submitted(store)
        assert store.renew(claim) is StepSignal.GO_ON
        assert store.report_progress(claim, Progress(percent=50.0)) is StepSignal.GO_ON
        assert commit(store, claim) == "committed"
        assert store.cancel(waiting) is JobState.CANCELED
    finally:
        redis_client.config_set("maxmemory", 0)
    assert store.get(running).state is JobState.SUCCEEDED
    submitted(store)


def test_every_event_carries_the_claim_that_it_comes_from(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = submitted(store)
    claimed(store, "dead")
    store.reap_worker("dead")
    claim = claimed(store, "w2")
    store.report_progress(claim, Progress(percent=10.0))
    commit(store, claim)
    epochs = [int(fields["epoch"]) for _, fields in redis_client.xrange(f"job:{job_id}:events")]
    assert epochs == [0, 1, 1, 2, 2, 2, 2, 2]


def test_two_hundred_equal_submits_at_once_are_one_job(store: JobStore) -> None:
    same, ids = Idempotency("key", "print"), list[str]()
    threads = [
        threading.Thread(target=lambda: ids.append(store.submit(make_spec(), same)))
        for _ in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 200
    assert len(set(ids)) == 1
    assert store.queue_size("tiny") == 1


def test_what_has_happened_to_the_fleet_is_counted(store: JobStore) -> None:
    # Given a job that is done at once, one whose worker dies, one that is given back and canceled
    for _ in range(3):
        submitted(store)
    commit(store, claimed(store))
    claimed(store, "dead")
    store.reap_worker("dead")
    commit(store, claimed(store))
    last = claimed(store)
    store.release(last)
    store.cancel(last.spec.id)
    # Then
    counts = store.counts()
    assert counts["submitted"] == 3
    assert counts["attempts"] == 4
    assert counts["finished:succeeded"] == 2
    assert counts["finished:canceled"] == 1
    assert counts["released"] == 1
    assert counts["reaped:worker_died"] == 1
    assert counts["recovered:+Inf"] == 1
    assert 0 <= counts["recovery_seconds"] < 60


def test_a_recovery_is_counted_from_the_lost_workers_last_sign_of_life(
    redis_client: redis.Redis, make_settings: Callable[..., Settings]
) -> None:
    store = JobStore(redis_client, make_settings(lease_seconds=0.2, renew_seconds=0.1))
    submitted(store)
    claimed(store, "gone")
    time.sleep(0.4)
    store.reap_expired()
    claimed(store)
    assert store.counts()["reaped:expired"] == 1
    assert store.counts()["recovery_seconds"] >= 0.4
