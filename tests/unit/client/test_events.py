"""Following a job through connections that break."""

import pytest

from retouch import RetouchProblem, Unreachable
from tests.unit.client.scripted_server import Answer, event, problem, served, stream

pytestmark = pytest.mark.usefixtures("each_client")

EVENTS = "GET /v1/jobs/j1/events"
FIRST = event(1, "state", state="queued")
SECOND = event(2, "progress", percent=50.0)
LAST = event(3, "result", width=8)


def followed(script: list[Answer], patience_seconds: float = 10.0) -> tuple[list[str], list[str]]:
    """The ids of the events that arrive, and the Last-Event-ID of every connection."""
    with served({EVENTS: script}, patience_seconds=patience_seconds) as (server, client):
        ids = [event.id for event in client.events("j1")]
    asked = [seen.headers.get("last-event-id", "") for seen in server.requests(EVENTS)]
    return ids, asked


def test_events_come_in_order_and_end_with_the_last_one() -> None:
    ids, asked = followed([stream(FIRST, SECOND, LAST, event(4, "progress", percent=1.0))])
    assert ids == ["1-0", "2-0", "3-0"]
    assert asked == [""]


def test_a_broken_connection_is_resumed_behind_the_last_event_seen() -> None:
    ids, asked = followed([stream(FIRST, SECOND, cut=True), stream(LAST)])
    assert ids == ["1-0", "2-0", "3-0"]
    assert asked == ["", "2-0"]


def test_a_stream_that_ends_too_early_is_resumed() -> None:
    ids, asked = followed([stream(FIRST), stream(), stream(SECOND, LAST)])
    assert ids == ["1-0", "2-0", "3-0"]
    assert asked == ["", "1-0", "1-0"]


def test_half_an_event_is_not_delivered_but_asked_for_again() -> None:
    ids, asked = followed([stream(FIRST, SECOND[:-9], cut=True), stream(SECOND, LAST)])
    assert ids == ["1-0", "2-0", "3-0"]
    assert asked == ["", "1-0"]


def test_a_service_that_restarts_in_between_is_waited_for() -> None:
    busy = problem(503, "store_unavailable", retry_after="0")
    ids, asked = followed([stream(FIRST, cut=True), busy, Answer(502, b"bad"), stream(LAST)])
    assert ids == ["1-0", "3-0"]
    assert asked == ["", "1-0", "1-0", "1-0"]


def test_a_job_that_does_not_exist_is_not_asked_for_again() -> None:
    with pytest.raises(RetouchProblem) as caught:
        followed([problem(404, "job_not_found")])
    assert caught.value.code == "job_not_found"


def test_a_stream_that_never_says_anything_ends_our_patience() -> None:
    with pytest.raises(Unreachable, match="ended early"):
        followed([stream()], patience_seconds=0.5)


def test_every_event_renews_the_patience() -> None:
    numbers = range(1, 6)
    script = [stream(event(number, "progress", percent=1.0)) for number in numbers]
    # Five waits of 0.15 s or more: longer than the patience, were it not renewed.
    ids, _ = followed([*script, stream(event(9, "result"))], patience_seconds=0.6)
    assert ids == [f"{number}-0" for number in (*numbers, 9)]


def test_a_long_silence_on_a_good_connection_does_not_wear_the_patience_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a job that waits in the queue for longer than the patience, and then a lost connection
    monkeypatch.setattr("retouch.events.LIVELY_SECONDS", 0.3)
    headers = {"Content-Type": "text/event-stream"}
    queued = Answer(200, b": pulse\n\n", headers, cut=True, wait_seconds=0.7)
    # When / Then
    ids, _ = followed([queued, stream(FIRST, LAST)], patience_seconds=0.5)
    assert ids == ["1-0", "3-0"]


def test_comments_and_kinds_of_a_later_version_are_passed_over() -> None:
    other = [b": keep-alive\n\n", event(2, "weather", sun=True), b"retry: 10\n\n"]
    ids, _ = followed([stream(FIRST, *other, LAST)])
    assert ids == ["1-0", "3-0"]


def test_a_service_that_has_nothing_more_to_tell_ends_the_stream() -> None:
    ids, asked = followed([stream(FIRST, cut=True), Answer(204)])
    assert ids == ["1-0"]
    assert asked == ["", "1-0"]


def test_a_cancellation_is_the_last_event() -> None:
    ids, _ = followed([stream(FIRST, event(2, "state", state="canceled"), LAST)])
    assert ids == ["1-0", "2-0"]
