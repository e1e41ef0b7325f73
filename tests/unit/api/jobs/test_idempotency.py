"""The same request twice makes one job."""

import asyncio

import pytest
import redis
from fastapi.testclient import TestClient

from api.access.keys import ALL_SCOPES, Caller
from api.jobs.receiving import _alone
from shared.errors import IdempotencyInFlight
from shared.ledger.store import JobStore
from tests.support.pictures import photo
from tests.unit.api.sending import submit


def test_the_same_key_and_request_make_one_job(client: TestClient, store: JobStore) -> None:
    headers = {"Idempotency-Key": "one"}

    first, second = submit(client, headers, steps="4"), submit(client, headers, steps="4")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert first.json()["params"]["seed"] == second.json()["params"]["seed"]
    assert second.headers["idempotency-replayed"] == "true"
    assert store.queue_size("tiny") == 1


@pytest.mark.parametrize("change", [{"steps": "5"}, {"lora": "denoise"}])
def test_the_same_key_for_another_request_is_refused(
    client: TestClient, change: dict[str, str]
) -> None:
    headers = {"Idempotency-Key": "one"}
    submit(client, headers, steps="4")

    response = submit(client, headers, **({"steps": "4"} | change))

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reuse")


def test_the_same_key_with_another_picture_is_refused(client: TestClient) -> None:
    headers = {"Idempotency-Key": "one"}
    submit(client, headers)

    response = client.post(
        "/v1/jobs",
        files={"image": ("photo.jpg", photo(80, 80))},
        data={"lora": "none"},
        headers=headers,
    )

    assert response.json()["code"] == "idempotency_key_reuse"


def test_a_refused_request_does_not_use_up_its_key(client: TestClient) -> None:
    headers = {"Idempotency-Key": "one"}
    assert submit(client, headers, steps="0").status_code == 422

    assert submit(client, headers, steps="4").status_code == 202


def test_a_key_whose_first_request_is_still_coming_in_has_to_wait(
    client: TestClient, redis_client: redis.Redis
) -> None:
    # Given a request that is being received by another gateway
    headers = {"Idempotency-Key": "one"}
    services = client.app.state.services  # type: ignore[attr-defined]
    lock = services.gate.enter("anonymous", "one")

    # Then the same key is asked to come back, until the first is through
    refused = submit(client, headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_in_flight")
    assert refused.headers["retry-after"] == "1"
    services.gate.leave(lock)
    assert submit(client, headers).status_code == 202
    assert redis_client.keys("receiving:*") == []


def test_a_key_stays_locked_for_as_long_as_its_request_is_received(
    client: TestClient, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a lock that runs out long before a slow upload is through
    monkeypatch.setattr("api.jobs.idempotency.HOLD_SECONDS", 0.5)
    monkeypatch.setattr("api.jobs.receiving.RENEW_SECONDS", 0.1)
    services = client.app.state.services  # type: ignore[attr-defined]
    caller = Caller("anonymous", ALL_SCOPES, is_known=False)

    async def receive_slowly() -> None:
        async with _alone(services, caller, "one"):
            await asyncio.sleep(1.5)
            with pytest.raises(IdempotencyInFlight):
                services.gate.enter("anonymous", "one")

    # When it is received
    assert client.portal is not None
    client.portal.call(receive_slowly)
    # Then the next request finds the key free
    services.gate.leave(services.gate.enter("anonymous", "one"))
    assert redis_client.keys("receiving:*") == []


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "\x7f"])
def test_a_key_of_other_than_visible_ascii_is_refused(client: TestClient, key: str) -> None:
    response = submit(client, {"Idempotency-Key": key})

    assert response.json()["code"] == "validation_error"
