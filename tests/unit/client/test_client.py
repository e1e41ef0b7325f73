"""The client against a real HTTP server that fails on purpose."""

from hashlib import sha256
from pathlib import Path

import pytest

from retouch import Client, RetouchProblem, Unreachable
from retouch.problems import Damaged
from retouch.records import Progress
from retouch.stack.ports import free_port
from tests.unit.client.scripted_server import (
    Answer,
    as_json,
    event,
    job,
    problem,
    served,
    stream,
)

pytestmark = pytest.mark.usefixtures("each_client")

SUBMIT = "POST /v1/jobs"
EVENTS = "GET /v1/jobs/j1/events"
JOB = "GET /v1/jobs/j1"


def test_a_submission_sends_the_photo_and_only_the_parameters_that_are_given() -> None:
    with served({SUBMIT: [as_json(job(), 202)]}, api_key="k1", language="zh") as (server, client):
        submitted = client.submit(b"a photo", lora=["a", "b:0.5"], strength=0.4, seed=None)
    (seen,) = server.seen
    assert submitted.id == "j1"
    assert b"a photo" in seen.body
    assert seen.body.count(b'name="lora"') == 2
    assert b'name="strength"\r\n\r\n0.4' in seen.body
    assert b'name="seed"' not in seen.body
    assert seen.headers["authorization"] == "Bearer k1"
    assert seen.headers["accept-language"] == "zh"


def test_a_submission_that_is_tried_again_carries_the_same_idempotency_key() -> None:
    script = {SUBMIT: [Answer(cut=True), problem(503, "queue_full", retry_after="0"),
                       as_json(job(), 202)]}  # fmt: skip
    with served(script) as (server, client):
        client.submit(b"a photo")
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_submissions_carry_different_idempotency_keys() -> None:
    with served({SUBMIT: [as_json(job(), 202)]}) as (server, client):
        client.submit(b"a photo")
        client.submit(b"a photo")
    first, second = server.seen
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_a_request_whose_twin_is_still_being_received_is_tried_again() -> None:
    script = {SUBMIT: [problem(409, "idempotency_in_flight", retry_after="0"), as_json(job(), 202)]}
    with served(script) as (_server, client):
        assert client.submit(b"a photo").id == "j1"


@pytest.mark.parametrize(
    ("status", "code"), [(422, "invalid_image"), (404, "lora_not_found"), (409, "not_finished")]
)
def test_a_refusal_is_told_at_once_and_not_tried_again(status: int, code: str) -> None:
    with (
        served({SUBMIT: [problem(status, code)]}) as (server, client),
        pytest.raises(RetouchProblem) as caught,
    ):
        client.submit(b"a photo")
    assert len(server.seen) == 1
    refusal = caught.value
    assert (refusal.code, refusal.status, refusal.retryable) == (code, status, False)
    assert str(refusal) == f"{code} happened. Do better."


def test_a_service_that_stays_busy_longer_than_our_patience_is_an_error() -> None:
    script = {SUBMIT: [problem(503, "queue_full", retry_after="30")]}
    with (
        served(script, patience_seconds=1) as (server, client),
        pytest.raises(RetouchProblem, match="queue_full") as caught,
    ):
        client.submit(b"a photo")
    assert len(server.seen) == 1
    assert caught.value.retry_after == "30"


def test_an_answer_that_explains_nothing_still_says_who_gave_it() -> None:
    with (
        served({JOB: [Answer(500, b"<html>oops</html>")]}) as (server, client),
        pytest.raises(RetouchProblem) as caught,
    ):
        client.job("j1")
    assert caught.value.code == "unexpected_answer"
    assert server.url in caught.value.detail


def test_nobody_at_the_address_is_unreachable_and_says_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, patience_seconds=0) as client, pytest.raises(Unreachable, match="retouch up"):
        client.loras()


def test_an_address_without_a_scheme_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="http://"):
        Client("localhost:8000")


def test_waiting_reports_every_percentage_and_returns_the_finished_job() -> None:
    # Given
    events = stream(
        event(1, "state", **job("queued")),
        event(2, "progress", percent=40.0, stage="denoising", step=1, total_steps=4),
        event(3, "progress", percent=100.0, stage="saving"),
        event(4, "result", width=8, height=8),
    )
    script = {EVENTS: [events], JOB: [as_json(job("succeeded"))]}
    seen: list[Progress] = []
    # When
    with served(script) as (_server, client):
        finished = client.wait("j1", on_progress=seen.append)
    # Then
    assert finished.state == "succeeded"
    assert [progress.percent for progress in seen] == [0.0, 40.0, 100.0]


def test_waiting_for_a_job_that_fails_raises_its_own_code() -> None:
    error = {"code": "out_of_memory", "message": "Too large.", "retryable": True}
    script = {EVENTS: [stream(event(1, "error", **error))],
              JOB: [as_json(job("failed", error=error))]}  # fmt: skip
    with served(script) as (_, client), pytest.raises(RetouchProblem, match="Too large") as caught:
        client.wait("j1")
    assert caught.value.code == "out_of_memory"
    assert caught.value.retryable


def test_waiting_for_a_job_that_somebody_cancels_says_so() -> None:
    script = {EVENTS: [stream(event(1, "state", state="canceled"))],
              JOB: [as_json(job("canceled"))]}  # fmt: skip
    with served(script) as (_, client), pytest.raises(RetouchProblem) as caught:
        client.wait("j1")
    assert caught.value.code == "canceled"


def test_a_picture_that_was_damaged_on_its_way_is_not_saved(tmp_path: Path) -> None:
    answer = Answer(200, b"half a pict", {"ETag": f'"{sha256(b"half a picture").hexdigest()}"'})
    with served({"GET /v1/jobs/j1/image": [answer]}) as (_server, client), pytest.raises(Damaged):
        client.save("j1", tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_picture_is_the_services_bytes(tmp_path: Path) -> None:
    answer = Answer(200, b"a picture", {"ETag": f'"{sha256(b"a picture").hexdigest()}"'})
    with served({"GET /v1/jobs/j1/image": [answer]}) as (_server, client):
        client.save("j1", tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"a picture"


def test_fields_that_a_newer_service_adds_do_not_break_the_client() -> None:
    items = {"items": [{"name": "a", "state": "available", "base": "tiny", "colour": "blue"}]}
    with served({"GET /v1/loras": [as_json(items)]}) as (_server, client):
        assert [lora.name for lora in client.loras()] == ["a"]


def test_another_web_server_is_not_taken_for_retouch() -> None:
    other = {"GET /v1/capabilities": [as_json({"hello": "world"})]}
    with served(other) as (_server, client):
        assert not client.is_retouch()


def test_a_service_that_asks_for_a_key_is_retouch() -> None:
    script = {"GET /v1/capabilities": [problem(401, "unauthenticated")]}
    with served(script) as (_server, client):
        assert client.is_retouch()
