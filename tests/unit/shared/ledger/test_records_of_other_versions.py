"""Two versions side by side: records of the next one are read, kept whole, and lose no job."""

import json
from collections.abc import Callable

import pytest
import redis
from fastapi.testclient import TestClient

from shared.jobs import RECORDS_VERSION, EventKind, JobState, Progress, Stage, Timings
from shared.ledger.fleet import Fleet
from shared.ledger.records import read_event
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.params import AskedParams, JobParams, LoraRef
from shared.record import Record
from shared.settings import Settings
from tests.support.fleet import live_worker
from tests.support.jobs import make_result, make_spec
from tests.support.next_version import FUTURE, grown, rewrite
from worker.job.history import History, StageCosts


def queued(store: JobStore, client: redis.Redis, needs: int = 1, **params: object) -> str:
    """A job that a gateway of the next version has submitted."""
    job_id = store.submit(make_spec())
    rewrite(client, job_id, needs, **params)
    return job_id


def kept(text: str) -> bool:
    return FUTURE.items() <= json.loads(text).items()


def test_fields_of_the_next_version_go_on_with_the_record(
    store: JobStore, redis_client: redis.Redis
) -> None:
    # Given
    job_id = queued(store, redis_client)
    # When this version's worker settles parameters and commits
    claim = store.claim("tiny", "w1")
    assert claim is not None
    store.report_params(claim, claim.spec.params.model_copy(update={"prompt": "sharp"}))
    result = make_result()
    assert store.commit(claim, result, Progress(percent=100), Timings(), []) == "committed"
    # Then
    stored = redis_client.hget(f"job:{job_id}", "params")
    assert kept(str(stored))
    assert json.loads(str(stored))["prompt"] == "sharp"
    assert store.get(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("record", [make_spec(), make_spec().params, make_result(), Timings()])
def test_every_record_is_written_again_as_it_was_read(record: Record) -> None:
    text = json.dumps(grown(json.loads(record.stored())))
    assert json.loads(type(record).read(text).stored()) == json.loads(text)


def test_a_form_is_not_a_record() -> None:
    with pytest.raises(ValueError, match="of_the_next_version"):
        AskedParams.model_validate(FUTURE)
    with pytest.raises(ValueError, match="format"):
        JobParams.model_validate({"format": "jxl"})
    with pytest.raises(ValueError, match="twice"):
        AskedParams(loras=[LoraRef(name="a"), LoraRef(name="a")])


UNKNOWN_WORDS = [{"format": "jxl"}, {"steps": 80}, {"upscale": 8}, {"priority": "soon"}]


@pytest.mark.parametrize("params", UNKNOWN_WORDS)
def test_a_job_in_words_that_a_worker_does_not_know_is_left_to_newer_ones(
    store: JobStore, redis_client: redis.Redis, params: dict[str, object]
) -> None:
    # Given a job of the next version before one of this
    newer = queued(store, redis_client, **params)
    ours = store.submit(make_spec())
    # When this version's worker asks for work
    claim = store.claim("tiny", "old")
    # Then it gets what it can do, and sees no other work
    assert claim is not None
    assert claim.spec.id == ours
    assert store.claim("tiny", "old") is None
    assert store.waiting("tiny", "old") == 0
    # And the other waits as it came, without an attempt
    job = store.get(newer)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    assert store.waiting("tiny", "new") == 1
    assert params.items() <= json.loads(str(redis_client.hget(f"job:{newer}", "params"))).items()


def test_a_job_that_needs_a_newer_worker_is_left_to_one(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = queued(store, redis_client, needs=RECORDS_VERSION + 1)
    assert store.claim("tiny", "old") is None
    assert store.get(job_id).state is JobState.QUEUED


def test_a_record_that_nobody_can_read_holds_up_no_other(
    store: JobStore, redis_client: redis.Redis
) -> None:
    broken, ours = store.submit(make_spec()), store.submit(make_spec())
    redis_client.hset(f"job:{broken}", "spec", '{"id": 7}')
    claim = store.claim("tiny", "w1")
    assert claim is not None
    assert claim.spec.id == ours
    assert [job.id for job in store.jobs_of("anonymous", None, 10)] == [ours]


def test_a_refused_job_that_was_canceled_ends_canceled(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = queued(store, redis_client, format="jxl")
    store.cancel(job_id)
    assert store.claim("tiny", "old") is None
    assert store.get(job_id).state is JobState.CANCELED


def test_words_of_the_next_version_are_read_as_they_are(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job_id = store.submit(make_spec())
    redis_client.hset(
        f"job:{job_id}",
        mapping={
            "state": "paused",
            "progress": '{"stage": "upscaling", "percent": 40}',
            "degraded": '[{"code": "half_size", "why": "memory"}]',
            "webhook_state": "postponed",
        },
    )
    job = store.get(job_id)
    assert (job.state, job.progress.stage) == ("paused", "upscaling")
    assert not job.state.is_terminal
    assert job.degraded[0].code == "half_size"
    assert job.webhook is not None
    assert job.webhook.state == "postponed"


def test_a_gateway_shows_a_job_of_the_next_version(
    client: TestClient, store: JobStore, redis_client: redis.Redis
) -> None:
    # Given
    loras = [grown({"name": "light", "scale": 0.5})]
    job_id = queued(store, redis_client, format="jxl", steps=80, fidelity="whole", loras=loras)
    redis_client.hset(f"job:{job_id}", "timings", json.dumps(grown({"queued_seconds": 2})))
    redis_client.hset(f"job:{job_id}", "degraded", '[{"code": "half_size"}]')
    redis_client.hset(f"job:{job_id}", "result", json.dumps(grown({"format": "jxl"})))
    result = json.loads(make_result().stored()) | {"format": "jxl", "layers": 3} | FUTURE
    result["safety"] |= FUTURE
    redis_client.hset(f"job:{job_id}", "result", json.dumps(result))
    redis_client.hset(f"job:{job_id}", mapping={"state": "archived", "webhook_state": "postponed"})
    # When
    answer = client.get(f"/v1/jobs/{job_id}")
    listed = client.get("/v1/jobs")
    # Then
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert (seen["state"], seen["params"]["format"], seen["params"]["steps"]) == (
        "archived",
        "jxl",
        80,
    )
    assert seen["degraded"] == [{"code": "half_size", "message": "half_size"}]
    # What a later version may have put into it, nobody has promised its callers
    assert "of_the_next_version" not in answer.text
    assert listed.status_code in (200, 401)


@pytest.fixture
def client(make_settings: Callable[..., Settings]) -> TestClient:
    from api.app import create_app

    app = create_app(make_settings(allow_anonymous=True))
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made  # type: ignore[misc]


def test_an_event_of_the_next_version_is_passed_over() -> None:
    from api.routes.events import frame

    event = read_event("1-0", {"kind": "thumbnail", "data": '{"blob": "x"}', "signed": "yes"})
    assert frame(event, "0" * 32, "en") is None
    assert not event.is_last
    assert EventKind.STATE.is_known


def test_a_heartbeat_of_the_next_version_is_a_worker(redis_client: redis.Redis) -> None:
    fleet = Fleet(redis_client)
    worker = live_worker("w", profile="full")
    fleet.announce(worker)
    redis_client.set("worker:w", json.dumps(grown(json.loads(worker.stored()))), ex=10)
    redis_client.sadd("workers", "broken")
    redis_client.set("worker:broken", "{}", ex=10)
    assert [one.id for one in fleet.workers()] == ["w"]


def test_a_history_with_stages_of_the_next_version_still_plans(redis_client: redis.Redis) -> None:
    history = History(redis_client, "tiny", "cpu")
    history.learn({Stage.SAVING: 2.0}, 1.0, 4)
    redis_client.hset("history:tiny:cpu", "upscaling", 3.0)
    assert history.costs().seconds == StageCosts().seconds | {Stage.SAVING: 2.0}


def test_a_suspension_of_the_next_version_suspends(
    redis_client: redis.Redis, settings: Settings
) -> None:
    record = json.dumps(grown({"name": "a", "strikes": 3}))
    redis_client.hset("loras:suspended", "0" * 64, record)
    assert Strikes(redis_client, settings).suspended()["0" * 64][:2] == ("a", 3)
