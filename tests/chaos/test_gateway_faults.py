"""The gateway under load and faults: events, refusals, repeated requests, fairness, start order."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx2
import pytest

from retouch import Client
from retouch.problems import RetouchProblem
from shared.jobs import JobSpec
from tests.chaos.conftest import MakeRig
from tests.chaos.figures import keep, size, spread, within
from tests.chaos.followers import Follower, Seen
from tests.chaos.rig import Rig, answers
from tests.support.wait import wait_until
from tests.support.workers import picture

FIELDS = {"lora": "none", "steps": "4", "strength": "1", "force": "true"}
# In the size and without the losses that the check of the fake engine's pictures expects.
FIELDS |= {"upscale": "1", "format": "png"}


def stream_ids(rig: Rig, job_id: str) -> list[str]:
    return [str(entry_id) for entry_id, _ in rig.client.xrange(f"job:{job_id}:events") or []]


def missing_events(rig: Rig, seen: Seen) -> set[str]:
    """Events after the client's snapshot that it was never told."""
    every = stream_ids(rig, seen.job)
    return set(every[every.index(seen.ids[0]) :]) - set(seen.ids)


def test_g13_followers_that_are_cut_off_miss_nothing_and_hear_nothing_twice(
    make_rig: MakeRig,
) -> None:
    # Given
    rig = make_rig(fake_step_seconds=0.03)
    address = rig.start_gateway()
    rig.start_workers(2)
    specs = [rig.submit(steps=20) for _ in range(size(40, 10))]
    # When
    followers = [
        Follower(address, specs[number % len(specs)].id, cuts=3 * (number % 2), seed=number)
        for number in range(size(200, 50))
    ]
    for follower in followers:
        follower.start()
    for follower in followers:
        follower.join(timeout=180)
    # Then
    seen = [follower.seen for follower in followers]
    assert [one.error for one in seen if not one.done] == []
    missing = sum(len(missing_events(rig, one)) for one in seen)
    twice = sum(len(one.ids) - len(set(one.ids)) for one in seen)
    late = [seconds for one in seen for seconds in one.late]
    rig.wait_for_end(specs, 60)
    rig.settle()
    rig.check()
    keep(
        "g13",
        clients=len(seen),
        cuts=sum(one.cuts for one in seen),
        events=sum(len(one.ids) for one in seen),
        missing=missing,
        twice=twice,
        last_event_seconds=spread(late),
    )
    assert (missing, twice) == (0, 0)


def test_a_client_that_comes_back_after_the_end_is_told_it_within_a_second(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    address = rig.start_gateway()
    rig.start_worker()
    specs = [rig.submit(steps=10) for _ in range(size(200, 20))]
    rig.assert_all(rig.wait_for_end(specs, 120))
    late = []
    for spec in specs:
        follower = Follower(address, spec.id, cuts=0, seed=0)
        follower.seen.ids.append(rig.random.choice(stream_ids(rig, spec.id)[:-1]))
        follower.seen.cuts = 1
        follower.run()
        assert follower.seen.done, follower.seen.error
        late += follower.seen.late
    keep("g13_after_the_end", clients=len(late), last_event_seconds=spread(late))
    assert max(late) <= within(1)


def test_what_is_served_is_what_was_committed_while_workers_die(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    address = rig.start_gateway()
    rig.start_workers(2)
    with Client(address) as client:
        jobs = []
        for number in range(size(200, 20)):
            if number % 5 == 0:
                rig.history.arm("step-2", "kill")
            job = client.submit(picture(48, 32, number), seed=number, **FIELDS)
            rig.history.note("submitted", job=job.id, seed=number)
            jobs.append(job)
        done = [client.wait(job) for job in jobs]
        for job in done:
            data = client.image(job)
            rig.history.note("served", job=job.id, sha256=sha256(data).hexdigest())
            assert job.result is not None
            assert sha256(data).hexdigest() == job.result.sha256
    rig.settle()
    rig.check()


@pytest.fixture
def http(make_rig: MakeRig) -> Iterator[tuple[Rig, httpx2.Client]]:
    rig = make_rig(fake_step_seconds=0.02, queue_limit=20)
    address = rig.start_gateway()
    limits = httpx2.Limits(max_connections=220, max_keepalive_connections=220)
    with httpx2.Client(base_url=address, timeout=60, limits=limits) as client:
        yield rig, client


def post(client: httpx2.Client, key: str | None = None, seed: int = 1) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    files = {"image": ("a.webp", picture(64, 48), "image/webp")}
    return client.post("/v1/jobs", files=files, data=FIELDS | {"seed": str(seed)}, headers=headers)


def test_two_hundred_equal_requests_at_once_are_one_job(http: tuple[Rig, httpx2.Client]) -> None:
    rig, client = http
    with ThreadPoolExecutor(200) as pool:
        responses = list(pool.map(lambda _: post(client, key="one"), range(200)))
    codes = sorted({response.status_code for response in responses})
    ids = {response.json()["id"] for response in responses if response.status_code < 300}
    assert len(ids) == 1
    # Those that came while the first was being received are told so, and may ask again.
    assert set(codes) <= {200, 202, 409}
    assert post(client, key="one").json()["id"] in ids
    assert post(client, key="one", seed=2).status_code == 422
    assert rig.store.queue_size("tiny") == 1


def test_a_full_queue_is_said_with_a_time_to_come_back(http: tuple[Rig, httpx2.Client]) -> None:
    rig, client = http
    accepted = [post(client, seed=number) for number in range(20)]
    assert {response.status_code for response in accepted} == {202}
    refused = post(client)
    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
    assert int(refused.headers["Retry-After"]) >= 1
    # And it takes jobs again once a worker has taken some
    rig.start_worker()
    wait_until(lambda: post(client).status_code == 202, description="room in the queue", seconds=30)


def test_a_store_without_memory_is_said_at_once_with_a_time_to_come_back(
    http: tuple[Rig, httpx2.Client],
) -> None:
    rig, client = http
    assert post(client).status_code == 202
    rig.client.config_set("maxmemory", int(rig.client.info("memory")["used_memory"]) // 2)
    seconds = []
    for number in range(20):
        began = time.monotonic()
        refused = post(client, seed=number)
        seconds.append(time.monotonic() - began)
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_full")
        assert int(refused.headers["Retry-After"]) >= 1
    rig.client.config_set("maxmemory", 0)
    assert post(client).status_code == 202
    keep("g8_http", refused=len(seconds), refusal_seconds=spread(seconds))
    assert spread(seconds)["p50"] <= within(0.25)


def test_a_gateway_that_starts_before_its_store_serves_once_it_is_there(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    rig.server.kill()
    address = rig.start_gateway()
    assert not answers(f"{address}/readyz")
    with Client(address, patience_seconds=0.0) as client, pytest.raises(RetouchProblem):
        client.submit(picture(), **FIELDS)
    rig.server.start()
    rig.start_worker()
    wait_until(lambda: answers(f"{address}/readyz"), description="readiness", seconds=20)
    with Client(address) as client:
        assert client.wait(client.submit(picture(), **FIELDS)).state == "succeeded"


def test_a_flood_of_one_key_does_not_hold_up_another(make_rig: MakeRig) -> None:
    # Given
    rig = make_rig(fake_step_seconds=0.01, api_keys="flood=aaaaaaaaaaaaaaaa,calm=bbbbbbbbbbbbbbbb")
    flood: list[JobSpec] = [rig.submit(client="flood") for _ in range(size(500, 150))]
    rig.start_workers(2)
    # When
    calm = [rig.submit(client="calm") for _ in range(5)]
    began = time.monotonic()
    rig.wait_for_end(calm, 60)
    waited = time.monotonic() - began
    # Then each of them waited for one job of the flood, and for what was in hand already
    claims = [line for line in rig.history.lines("claimed") if line["t"] > began]
    ids = {spec.id for spec in calm}
    last = max(index for index, line in enumerate(claims) if line["job"] in ids)
    assert last < 2 * len(calm) + 4
    rig.assert_all(rig.wait_for_end(flood, 300))
    rig.settle()
    rig.check()
    keep("fairness", flood=len(flood), others=len(calm), waited_seconds=round(waited, 2))


def test_replicas_take_a_device_each_and_the_last_one_waits(make_rig: MakeRig) -> None:
    # Given
    rig = make_rig(fake_step_seconds=0.02, devices="fake:0,fake:1")
    first, second = rig.start_workers(2)
    held = {info.device for info in (rig.info(first), rig.info(second)) if info}
    assert held == {"fake:0", "fake:1"}
    third = rig.start_worker(wait=False)
    log = rig.folder / "workers.log"
    wait_until(
        lambda: "waiting for a device" in log.read_text(), description="it to be said", seconds=30
    )
    assert rig.info(third) is None
    # When one leaves in good order
    first.process.terminate()
    assert first.process.wait(30) == 0
    # Then the one that waited has its device
    info = rig.wait_ready(third)
    assert info.device in held
    rig.assert_all(rig.wait_for_end([rig.submit() for _ in range(10)], 60))


def test_a_dead_replicas_device_is_free_after_its_lease(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, devices="fake:0")
    first = rig.start_worker()
    second = rig.start_worker(wait=False)
    first.kill_tree()
    began = time.monotonic()
    assert rig.wait_ready(second).device == "fake:0"
    assert time.monotonic() - began < within(20)


def test_replicas_share_a_device_when_they_are_told_to(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, devices="fake:0", share_devices="true")
    workers = rig.start_workers(2)
    assert [info.device for info in map(rig.info, workers) if info] == ["fake:0", "fake:0"]


def test_a_restarted_engine_keeps_its_workers_device(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, devices="fake:0,fake:1")
    worker = rig.start_worker()
    before = rig.wait_ready(worker)
    engine = worker.engine()
    assert engine is not None
    engine.kill()
    wait_until(
        lambda: (info := rig.info(worker)) and info.pid != before.pid,
        description="the next engine process",
        seconds=30,
    )
    after = rig.info(worker)
    assert after is not None
    assert after.device == before.device
