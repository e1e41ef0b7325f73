"""`wait(timeout=)`: an exact limit, whatever keeps the connection busy or breaks it."""

import time
from typing import Any

import pytest

from retouch import WaitTimeout
from tests.unit.client.scripted_server import Answer, as_json, event, job, problem, served, stream

pytestmark = pytest.mark.usefixtures("each_client")

EVENTS = "GET /v1/jobs/j1/events"
JOB = "GET /v1/jobs/j1"
HEADERS = {"Content-Type": "text/event-stream"}
FIRST = event(1, "state", state="queued")
# Much longer than the limit: what ends the wait is the limit.
SILENT = Answer(200, FIRST, HEADERS, cut=True, wait_seconds=60)
PULSING = Answer(200, FIRST, HEADERS, cut=True, pulses=3000)


@pytest.mark.parametrize(
    "answer",
    [SILENT, PULSING, stream(FIRST), problem(503, "store_unavailable", retry_after="1")],
    ids=["silent", "comments only", "ends at once", "refuses"],
)
def test_waiting_ends_when_its_time_is_over(answer: Answer) -> None:
    with served({EVENTS: [answer], JOB: [as_json(job("running"))]}) as (_server, client):
        started = time.monotonic()
        with pytest.raises(WaitTimeout, match=r"j1 has not ended within 0\.3 s") as caught:
            client.wait("j1", timeout=0.3)
        took = time.monotonic() - started
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.code == "wait_timeout"
    assert 0.25 < took < 30


def test_a_job_that_ends_in_time_is_returned() -> None:
    script = {EVENTS: [stream(FIRST, event(2, "result"))], JOB: [as_json(job("succeeded"))]}
    with served(script) as (_server, client):
        assert client.wait("j1", timeout=30).state == "succeeded"


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_no_time_at_all_is_one_look(state: str) -> None:
    with served({JOB: [as_json(job(state))]}) as (server, client):
        outcome: Any = None
        try:
            outcome = client.wait("j1", timeout=0).state
        except WaitTimeout:
            outcome = "running"
    assert outcome == state
    assert len(server.seen) == 1


def test_a_job_that_was_waited_for_in_vain_can_be_waited_for_again() -> None:
    script = {EVENTS: [SILENT, stream(FIRST, event(2, "result"))],
              JOB: [as_json(job("succeeded"))]}  # fmt: skip
    with served(script) as (_server, client):
        with pytest.raises(WaitTimeout):
            client.wait("j1", timeout=0.2)
        assert client.wait("j1").state == "succeeded"
