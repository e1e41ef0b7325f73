"""Reports of pictures: whose, when, and what they lead to."""

from collections.abc import Callable

import pytest
import redis
from fastapi.testclient import TestClient

from shared.blobs import BlobStore
from shared.jobs import Failure, Timings
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.params import LoraRef
from shared.settings import Settings
from tests.support.fleet import claim, finish
from tests.support.jobs import make_spec
from tests.support.pictures import photo
from tests.support.wait import wait_until
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit

WATERMARK = {"reason": "watermark"}


def finished(
    client: TestClient,
    store: JobStore,
    blobs: BlobStore,
    photo_number: int = 0,
    **fields: object,
) -> str:
    """A job that is done; its address."""
    data = photo(width=64 + photo_number)
    asked = {"lora": "denoise"} | fields
    job = client.post("/v1/jobs", files={"image": ("photo.jpg", data)}, data=asked).json()
    finish(store, blobs, claim(store))
    return str(job["links"]["self"])


def test_a_report_counts_against_the_loras_of_the_picture(
    client: TestClient, store: JobStore, blobs: BlobStore, redis_client: redis.Redis
) -> None:
    job = finished(client, store, blobs)
    answers = [client.post(f"{job}/report", json=WATERMARK | {"note": "x"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == {"loras": ["denoise_tiny"]}
    sha256 = client.get("/v1/loras/denoise").json()["sha256"]
    assert redis_client.zcard(f"lora:{sha256}:strikes") == 1


def test_the_base_alone_has_no_lora_to_count_against(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    job = finished(client, store, blobs, lora="none")
    assert client.post(f"{job}/report", json=WATERMARK).json() == {"loras": []}


def test_enough_reports_take_the_lora_off_the_list_with_the_way_back(
    gateway: Gateway, store: JobStore, blobs: BlobStore
) -> None:
    client = gateway(lora_strikes=2, api_keys="ada=key-of-ada,bob=key-of-bob")
    for number, key in enumerate(("key-of-ada", "key-of-bob")):
        client.headers["X-API-Key"] = key
        job = finished(client, store, blobs, photo_number=number)
        client.post(f"{job}/report", json={"reason": "unsafe"})
    wait_until(
        lambda: client.get("/v1/loras/denoise").json()["state"] == "quarantined",
        description="the catalogue to hear of it",
        seconds=15,
    )
    held = client.get("/v1/loras/denoise").json()
    assert "2 of its pictures" in held["reason"]
    assert "loras.lock.toml" in held["reason"]
    refused = submit(client, lora="denoise")
    assert (refused.status_code, refused.json()["code"]) == (422, "lora_quarantined")


def test_only_a_finished_picture_can_be_reported(client: TestClient) -> None:
    job = submit(client, lora="denoise").json()["links"]["self"]
    answer = client.post(f"{job}/report", json=WATERMARK)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")


def test_somebody_elses_picture_is_an_unknown_one(
    gateway: Gateway, store: JobStore, blobs: BlobStore
) -> None:
    client = gateway(api_keys="ada=key-of-ada,bob=key-of-bob")
    client.headers["X-API-Key"] = "key-of-ada"
    job = finished(client, store, blobs)
    answer = client.post(f"{job}/report", json=WATERMARK, headers={"X-API-Key": "key-of-bob"})
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    "body", [{}, {"reason": "dull"}, WATERMARK | {"note": "x" * 501}, WATERMARK | {"loras": []}]
)
def test_a_report_says_what_is_wrong_and_nothing_else(
    client: TestClient, store: JobStore, blobs: BlobStore, body: dict[str, object]
) -> None:
    answer = client.post(f"{finished(client, store, blobs)}/report", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


def test_a_stopped_picture_names_the_lora_in_both_languages(
    client: TestClient, store: JobStore
) -> None:
    job = submit(client, lora="denoise").json()["links"]["self"]
    failure = Failure(
        code="watermark_in_output", message="code: x", flags=["code"], loras=["denoise_tiny"]
    )
    store.fail(claim(store), failure, Timings())
    error = client.get(job).json()["error"]
    assert error["message"].endswith("LoRA: denoise_tiny.")
    assert (error["flags"], error["loras"]) == (["code"], ["denoise_tiny"])
    chinese = client.get(job, headers={"Accept-Language": "zh"}).json()["error"]
    assert chinese["message"].endswith("LoRA：denoise_tiny。")


def test_strikes_fade(redis_client: redis.Redis, make_settings: Callable[..., Settings]) -> None:
    strikes = Strikes(redis_client, make_settings(lora_strikes=2))
    ref = LoraRef(name="x", sha256="a" * 64)
    first, second = make_spec("ada"), make_spec("bob")
    strikes.count([ref], first, "code")
    for key in redis_client.scan_iter(f"lora:{ref.sha256}:strikes*"):
        (member,) = redis_client.zrange(key, 0, -1)
        redis_client.zadd(key, {str(member): 1}, xx=True)  # in January 1970
    strikes.count([ref], second, "code")
    assert strikes.suspended() == {}
    assert redis_client.zrange(f"lora:{ref.sha256}:strikes", 0, -1) == [second.id]
