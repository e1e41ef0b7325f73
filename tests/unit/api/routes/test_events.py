"""What a job's followers are told: a snapshot first, everything once, the end always."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import anyio
import pytest
import redis
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from api.jobs.follow import just_before, order
from api.routes.events import _until_either_ends
from shared.blobs import BlobStore
from shared.jobs import Claim, Failure, Timings
from shared.ledger.store import JobStore
from tests.support.fleet import claim, finish, progress, show_preview
from tests.unit.api.sending import submit


@dataclass(frozen=True)
class Told:
    """One event as it came over the wire."""

    id: str
    kind: str
    data: dict[str, object]


def parse(text: str) -> list[Told]:
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[Told]:
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
        if "event" in lines:
            yield Told(lines["id"], lines["event"], json.loads(lines["data"]))


def follow(client: TestClient, job_id: str, last_event_id: str | None = None) -> list[Told]:
    """Everything until the stream ends; the test client reads streams to their end."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else None
    response = client.get(f"/v1/jobs/{job_id}/events", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    return parse(response.text)


@pytest.fixture
def done(client: TestClient, store: JobStore, blobs: BlobStore) -> str:
    """The id of a job that went through everything."""
    job_id: str = submit(client).json()["id"]
    claimed = claim(store)
    show_preview(store, blobs, claimed)
    for percent in (25.0, 50.0, 75.0):
        store.report_progress(claimed, progress(percent))
    finish(store, blobs, claimed)
    return job_id


def test_a_finished_job_is_a_snapshot_and_its_end(client: TestClient, done: str) -> None:
    snapshot, end = follow(client, done)

    assert (snapshot.kind, snapshot.data["state"], snapshot.data["id"]) == (
        "state",
        "succeeded",
        done,
    )
    assert (end.kind, end.data["format"]) == ("result", "png")
    assert end.data["url"] == f"/v1/jobs/{done}/image"
    assert "blob" not in end.data


def test_a_whole_life_is_told_in_order_and_once(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    # Given a follower of a job that starts a little later
    job_id = submit(client).json()["id"]
    worker = threading.Timer(0.3, lambda: _work(store, blobs, claim(store)))
    worker.start()

    # When it follows to the end
    told = follow(client, job_id)
    worker.join()

    # Then it has heard everything, in order, once
    assert [event.kind for event in told] == [
        "state", "state", "preview", "progress", "progress", "progress", "state", "result",
    ]  # fmt: skip
    ids = [order(event.id) for event in told]
    assert ids == sorted(set(ids))
    percents = [event.data["percent"] for event in told if event.kind == "progress"]
    assert percents == [25.0, 50.0, 100.0]
    assert told[3].data["message"] == "Enhancing"
    assert told[2].data == {
        "width": 32,
        "height": 24,
        "media_type": "image/webp",
        "url": f"/v1/jobs/{job_id}/preview",
    }


def _work(store: JobStore, blobs: BlobStore, claimed: Claim) -> None:
    show_preview(store, blobs, claimed)
    for percent in (25.0, 50.0):
        store.report_progress(claimed, progress(percent))
    finish(store, blobs, claimed)


def test_resuming_anywhere_misses_nothing_and_repeats_nothing(
    client: TestClient, done: str, redis_client: redis.Redis
) -> None:
    # Given all that was ever told of a job
    entries = [entry for entry, _ in redis_client.xrange(f"job:{done}:events")]

    # Then whoever has seen some of it gets exactly the rest
    for seen in range(len(entries) - 1):
        assert [event.id for event in follow(client, done, entries[seen])] == entries[seen + 1 :]


def test_a_finished_jobs_followers_are_told_its_end_after_its_events_are_gone(
    client: TestClient, store: JobStore, done: str
) -> None:
    before = follow(client, done)
    store.pack_finished(0, 10)

    after = follow(client, done)
    resumed = follow(client, done, before[0].id)

    assert [(told.id, told.kind, told.data) for told in after] == [
        (told.id, told.kind, told.data) for told in before
    ]
    assert [told.kind for told in resumed] == ["state", "result"]
    last = {"Last-Event-ID": before[-1].id}
    assert client.get(f"/v1/jobs/{done}/events", headers=last).status_code == 204


@pytest.mark.parametrize("is_canceled", [True, False])
def test_an_end_without_a_picture_is_told_after_the_events_are_gone(
    client: TestClient, store: JobStore, is_canceled: bool
) -> None:
    job_id = submit(client).json()["id"]
    if is_canceled:
        store.cancel(job_id)
    else:
        store.fail(claim(store), Failure(code="internal_error", message="no"), Timings())
    before = follow(client, job_id)

    store.pack_finished(0, 10)

    assert follow(client, job_id)[-1] == before[-1]


def test_waiting_for_a_job_whose_events_are_gone_takes_no_time(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    headers = {"Idempotency-Key": "a", "Prefer": "wait=50"}
    job_id = submit(client, headers={"Idempotency-Key": "a"}).json()["id"]
    finish(store, blobs, claim(store))
    store.pack_finished(0, 10)

    answer = submit(client, headers=headers)

    assert (answer.status_code, answer.json()["id"]) == (200, job_id)
    assert answer.elapsed.total_seconds() < 20


def test_after_the_last_event_there_is_nothing_more(client: TestClient, done: str) -> None:
    last = follow(client, done)[-1]

    response = client.get(f"/v1/jobs/{done}/events", headers={"Last-Event-ID": last.id})

    assert (response.status_code, response.content) == (204, b"")


def test_a_connection_cut_behind_the_snapshot_still_hears_the_end(
    client: TestClient, done: str
) -> None:
    snapshot, end = follow(client, done)

    assert follow(client, done, snapshot.id) == [end]


@pytest.mark.parametrize("last", ["nonsense", "99999999999999-0", "-", "1-", "1" * 400])
def test_an_id_that_is_not_of_this_stream_begins_anew(
    client: TestClient, done: str, last: str
) -> None:
    assert follow(client, done, last)[0].data["id"] == done


def test_an_id_whose_followers_were_trimmed_away_begins_anew(
    client: TestClient, done: str, redis_client: redis.Redis
) -> None:
    (first, _), *_ = redis_client.xrange(f"job:{done}:events")
    redis_client.xtrim(f"job:{done}:events", maxlen=2, approximate=False)

    told = follow(client, done, first)

    assert told[0].data["id"] == done
    assert told[-1].kind == "result"


def test_a_failure_is_the_end_in_words(client: TestClient, store: JobStore) -> None:
    job_id = submit(client).json()["id"]
    store.fail(claim(store), Failure(code="out_of_memory", message="x"), Timings())

    end = follow(client, job_id)[-1]

    assert (end.kind, end.data["code"]) == ("error", "out_of_memory")
    assert "max_side" in str(end.data["advice"])


def test_a_cancellation_is_the_end(client: TestClient) -> None:
    job = submit(client).json()
    client.delete(job["links"]["self"])

    end = follow(client, job["id"])[-1]

    assert (end.kind, end.data["state"]) == ("state", "canceled")


def test_chosen_parameters_are_told(client: TestClient, store: JobStore, blobs: BlobStore) -> None:
    job_id = submit(client, lora="auto").json()["id"]
    first = follow_start(client, store, job_id)
    claimed = claim(store)
    store.report_params(claimed, claimed.spec.params.model_copy(update={"lora_reason": "noise"}))
    finish(store, blobs, claimed)

    told = [event for event in follow(client, job_id, first) if "params" in event.data]

    assert told[0].data["state"] == "running"
    assert told[0].data["params"]["lora_reason"] == "noise"  # type: ignore[index]


def follow_start(client: TestClient, store: JobStore, job_id: str) -> str:
    del client
    return store.snapshot(job_id)[1]


# --- the socket


def test_a_socket_tells_the_same_and_previews_as_bytes(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    # Given a socket on a waiting job
    job = submit(client).json()
    with client.websocket_connect(job["links"]["socket"]) as socket:
        assert socket.receive_json()["data"]["id"] == job["id"]

        # When the job goes its way
        claimed = claim(store)
        shown = show_preview(store, blobs, claimed)
        store.report_progress(claimed, progress(50))
        finish(store, blobs, claimed)

        # Then every event is a text frame, and the preview a binary one behind its own
        assert socket.receive_json()["data"]["state"] == "running"
        assert socket.receive_json()["kind"] == "preview"
        assert socket.receive_bytes() == shown
        kinds = [socket.receive_json()["kind"] for _ in range(4)]
        assert kinds == ["progress", "progress", "state", "result"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1000


def test_a_socket_resumes(client: TestClient, done: str, redis_client: redis.Redis) -> None:
    entries = [entry for entry, _ in redis_client.xrange(f"job:{done}:events")]

    with client.websocket_connect(
        f"/v1/jobs/{done}/socket?last_event_id={entries[-3]!s}"
    ) as socket:
        assert [socket.receive_json()["id"] for _ in range(2)] == entries[-2:]


def test_what_a_client_says_on_a_socket_does_no_harm(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    job = submit(client).json()
    with client.websocket_connect(job["links"]["socket"]) as socket:
        socket.receive_json()
        socket.send_text("{}")
        socket.send_bytes(b"\x00" * 1000)
        finish(store, blobs, claim(store))
        assert socket.receive_json()["data"]["state"] == "running"


def test_a_socket_on_an_unknown_job_is_denied_in_words(client: TestClient) -> None:
    from starlette.testclient import WebSocketDenialResponse

    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect(f"/v1/jobs/{'0' * 32}/socket"),
    ):
        pass

    assert (denied.value.status_code, denied.value.json()["code"]) == (404, "job_not_found")


def test_a_socket_that_is_ended_while_one_side_stops_is_ended_in_order() -> None:
    async def ended_from_outside(after: float) -> bool:
        async def leaves() -> None:
            asyncio.get_running_loop().call_later(after, scope.cancel)

        async def stays() -> None:
            await asyncio.to_thread(time.sleep, 0.02)

        with anyio.CancelScope() as scope:
            await _until_either_ends(leaves(), stays())
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert all(asyncio.run(ended_from_outside(after)) for after in (0, 0, 0.001, 0.01))


# --- event ids


@pytest.mark.parametrize(
    ("event_id", "before"),
    [("5-2", "5-1"), ("5-1", "5-0"), ("5-0", f"4-{2**64 - 1}"), ("0-0", "0-0")],
)
def test_the_id_before_an_id(event_id: str, before: str) -> None:
    assert just_before(event_id) == before
    assert order(before) <= order(event_id)
