"""Which exception an answer becomes: by code, by status, and for what is no answer of retouch's."""

from collections.abc import Callable
from typing import Any

import pytest

from api.wire.problems import STATUS
from retouch import RateLimited, RetouchProblem, ServerError, UnexpectedAnswer, problems
from shared.errors import ERRORS
from tests.unit.client.scripted_server import Answer, as_json, problem, served

JOB = "GET /v1/jobs/j1"
HTML = Answer(200, b"<html>Welcome to the hotel</html>", {"Content-Type": "text/html"})


def caught(answer: Answer) -> RetouchProblem:
    with (
        served({JOB: [answer]}, patience_seconds=0) as (_server, client),
        pytest.raises(RetouchProblem) as raised,
    ):
        client.job("j1")
    return raised.value


def test_every_code_of_the_service_has_a_class_under_its_status() -> None:
    for code, error in ERRORS.items():
        kind = RetouchProblem.of_code[code]
        assert kind.__name__ == error.__name__
        assert issubclass(kind, RetouchProblem.of_status[STATUS[code]]), code


def test_the_class_is_that_of_the_code() -> None:
    refusal = caught(problem(503, "queue_full"))
    assert type(refusal) is problems.QueueFull
    assert isinstance(refusal, problems.Unavailable)
    assert refusal.status == 503


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, RateLimited), (404, problems.NotFound), (502, ServerError), (418, RetouchProblem)],
)
def test_a_code_of_a_later_version_has_the_class_of_its_status(
    status: int, kind: type[RetouchProblem]
) -> None:
    refusal = caught(problem(status, "weather_too_hot"))
    assert type(refusal) is kind
    assert refusal.code == "weather_too_hot"


def test_a_failed_job_raises_the_class_of_its_code() -> None:
    failed = {"id": "j1", "state": "failed", "error": {"code": "out_of_memory", "message": "Full."}}
    with served({JOB: [as_json(failed)]}) as (_, client), pytest.raises(problems.OutOfMemory):
        client.wait("j1", timeout=0)


@pytest.mark.usefixtures("each_client")
@pytest.mark.parametrize(
    ("route", "call"),
    [
        ("POST /v1/jobs", lambda client: client.submit(b"photo")),
        (JOB, lambda client: client.job("j1")),
        ("GET /v1/jobs/j1/events", lambda client: list(client.events("j1"))),
        ("GET /v1/jobs/j1/events", lambda client: client.wait("j1")),
        ("GET /v1/jobs/j1/image", lambda client: client.image("j1")),
        ("GET /v1/loras", lambda client: client.loras()),
        ("GET /v1/workers", lambda client: client.workers()),
    ],
)
def test_a_page_with_status_200_is_told_at_once(route: str, call: Callable[[Any], Any]) -> None:
    with (
        served({route: [HTML]}) as (server, client),
        pytest.raises(UnexpectedAnswer, match="answered 200 with text/html") as raised,
    ):
        call(client)
    assert len(server.seen) == 1
    assert "proxy" in raised.value.advice


@pytest.mark.parametrize("body", [{"hello": "world"}, [], None, {"items": 7}, {"items": [7]}])
def test_json_of_another_shape_is_no_answer_of_retouch(body: Any) -> None:
    script = {JOB: [as_json(body)], "GET /v1/loras": [as_json(body)]}
    with served(script) as (_server, client):
        for call in (lambda: client.job("j1"), client.loras):
            with pytest.raises(UnexpectedAnswer):
                call()


def test_the_page_of_a_proxy_that_takes_no_large_files_is_explained() -> None:
    page = b"<html><h1>413 Request Entity Too Large</h1>nginx</html>"

    refusal = caught(Answer(413, page, {"Content-Type": "text/html"}))

    assert isinstance(refusal, problems.PayloadTooLarge)
    assert "proxy" in refusal.advice
    assert "limit" in refusal.advice
    assert not refusal.retryable


def test_a_redirect_is_not_followed_but_told() -> None:
    refusal = caught(Answer(302, b"", {"Location": "http://elsewhere.example/"}))
    assert isinstance(refusal, UnexpectedAnswer)
    assert refusal.status == 302
