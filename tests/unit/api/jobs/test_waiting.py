"""Requests that wait for their job: `Prefer: wait` and the one-line form."""

import asyncio
import io
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from PIL import Image

from api.access.places import Places
from api.jobs.follow import Followers
from api.routes.jobs import wait_seconds
from api.wire.sentence import Sentence
from shared.blobs import BlobStore
from shared.errors import Overloaded
from shared.jobs import JobSpec
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.fleet import WORKER, finish, progress
from tests.support.pictures import photo
from tests.support.wait import wait_until
from tests.unit.api.sending import submit


@pytest.fixture
def busy_worker(store: JobStore, blobs: BlobStore) -> Callable[[], threading.Thread]:
    """Start a thread that finishes the next job as soon as there is one."""

    def start() -> threading.Thread:
        def work() -> None:
            claimed = wait_until(
                lambda: store.claim("tiny", WORKER), description="a job to work on"
            )
            store.report_progress(claimed, progress(50))
            finish(store, blobs, claimed)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    return start


def test_prefer_wait_answers_with_the_finished_job(
    client: TestClient, busy_worker: Callable[[], threading.Thread]
) -> None:
    thread = busy_worker()

    response = submit(client, headers={"Prefer": "respond-async, wait=20"})

    thread.join()
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")
    assert response.headers["preference-applied"] == "wait=20"


def test_prefer_wait_gives_up_in_time(client: TestClient) -> None:
    response = submit(client, headers={"Prefer": "wait=1"})

    assert (response.status_code, response.json()["state"]) == (202, "queued")


def test_enhance_answers_the_picture_itself(
    client: TestClient, busy_worker: Callable[[], threading.Thread]
) -> None:
    thread = busy_worker()

    response = client.post("/enhance", files={"image": ("p.jpg", photo())})

    thread.join()
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.size == (64, 48)
    job = client.get(response.headers["location"]).json()
    assert job["params"]["loras"][0]["name"] == "face_restore_tiny"


def test_no_wait_is_longer_than_a_proxy_s_patience() -> None:
    assert wait_seconds("wait=60") == wait_seconds("wait=999999") == 50


def test_a_wait_that_was_too_short_leaves_the_job_s_address(client: TestClient) -> None:
    response = submit(client, headers={"Prefer": "wait=1"})

    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(("language", "words"), [("en", "not finished"), ("zh", "未完成")])
def test_enhance_says_where_the_picture_will_be_when_it_takes_too_long(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, language: str, words: str
) -> None:
    monkeypatch.setattr("api.routes.enhance.LONGEST_WAIT_SECONDS", 0.2)

    response = client.post(
        "/enhance", files={"image": ("p.jpg", photo())}, headers={"Accept-Language": language}
    )

    job = response.json()
    assert (response.status_code, job["state"]) == (202, "queued")
    assert response.headers["location"] == job["links"]["self"]
    assert response.headers["retry-after"] == "1"
    assert words in job["message"]
    assert job["links"]["image"] in job["message"]


def test_enhance_refuses_a_lora_of_another_base(client: TestClient) -> None:
    response = client.post(
        "/enhance", files={"image": ("p.jpg", photo())}, data={"lora": "product_lighting_sdxl"}
    )

    assert (response.status_code, response.json()["code"]) == (400, "lora_base_mismatch")


def test_waiting_for_a_job_that_is_gone_ends_at_once(
    client: TestClient, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit_and_forget(self: JobStore, spec: JobSpec, *rest: Any) -> str:
        job_id = original(self, spec, *rest)
        redis_client.delete(f"job:{job_id}", f"job:{job_id}:events")
        return job_id

    original = JobStore.submit
    monkeypatch.setattr(JobStore, "submit", submit_and_forget)
    started = time.monotonic()

    response = submit(client, headers={"Prefer": "wait=60"})

    assert (response.status_code, response.json()["code"]) == (404, "job_not_found")
    assert time.monotonic() - started < 30


def test_who_waits_for_the_end_is_not_woken_by_progress(
    client: TestClient, store: JobStore, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    followers: Followers = client.app.state.services.followers  # type: ignore[attr-defined]
    answers: list[Any] = []
    read = followers._redis.xread

    async def counted(*given: Any, **named: Any) -> Any:
        answers.append(await read(*given, **named))
        return answers[-1]

    monkeypatch.setattr(followers._redis, "xread", counted)

    def work() -> None:
        claimed = wait_until(lambda: store.claim("tiny", WORKER), description="a job to work on")
        for percent in range(0, 90, 10):
            store.report_progress(claimed, progress(float(percent)))
            time.sleep(0.02)
        finish(store, blobs, claimed)

    thread = threading.Thread(target=work)
    thread.start()
    response = submit(client, headers={"Prefer": "wait=20"})

    thread.join()
    assert response.json()["state"] == "succeeded"
    assert len([answer for answer in answers if answer]) == 1


def test_the_end_of_a_job_without_the_stream_of_ends_is_seen(
    client: TestClient,
    busy_worker: Callable[[], threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers of an earlier version do not write it."""
    followers: Followers = client.app.state.services.followers  # type: ignore[attr-defined]
    read = followers._redis.xread

    async def nothing(streams: dict[str, str], **named: Any) -> Any:
        return await read(
            {f"{name}:missing": position for name, position in streams.items()}, **named
        )

    monkeypatch.setattr(followers._redis, "xread", nothing)
    thread = busy_worker()

    response = submit(client, headers={"Prefer": "wait=20"})

    thread.join()
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")


def test_whoever_finds_no_place_to_wait_is_answered_at_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Overloaded

    monkeypatch.setattr(Places, "take", full)
    followers: Followers = client.app.state.services.followers  # type: ignore[attr-defined]

    async def wait() -> None:
        await followers.wait_for_end("someone", "0" * 32, 60)

    assert client.portal is not None
    client.portal.call(wait)


def test_a_caller_s_leaving_is_noticed_although_the_store_s_client_swallows_it(
    settings: Settings, store: JobStore
) -> None:
    """`asyncio.wait_for` does that, up to Python 3.11, when what it waits for has just ended."""
    places = Places(1, 1, Sentence("waiting", "等待"))
    reading, swallowed = threading.Event(), threading.Event()

    async def xread(*_: object, **__: object) -> list[Any]:
        reading.set()
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            if swallowed.is_set():
                raise
            swallowed.set()
        return [("events", [("1-1", {"kind": "state", "data": "{}"})])]

    async def leave() -> bool:
        followers = Followers(settings, store, threading.Event(), places)
        await followers.close()
        followers._redis = SimpleNamespace(xread=xread)  # type: ignore[assignment]
        waiting = asyncio.create_task(followers.end_of("ada", "0" * 32))
        while not reading.is_set():
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait({waiting}, timeout=5)
        return waiting in done and waiting.cancelled()

    assert asyncio.run(leave())
    assert swallowed.is_set()
    with places.take("ada"):
        pass  # the caller's place is free again
