"""Events for monitors: many in one message, and none left behind."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from worker.process.consumer import EVENTS_SECONDS, PatientConsumer


class FakeHub:
    """Kombu's loop as far as the consumer uses it."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], Any]]] = []

    def call_soon(self, function: Callable[..., Any], *given: Any) -> None:
        function(*given)

    def call_later(self, delay: float, function: Callable[[], Any]) -> None:
        self.later.append((delay, function))


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def consumer(hub: FakeHub) -> PatientConsumer:
    made = PatientConsumer.__new__(PatientConsumer)
    made.__dict__.update(hub=hub, _events_due=float("-inf"))
    return made


def test_events_of_one_batch_are_sent_together(consumer: PatientConsumer, hub: FakeHub) -> None:
    for _ in range(10):
        consumer.on_send_event_buffered()

    assert [delay for delay, _ in hub.later] == [EVENTS_SECONDS]


def test_an_event_after_the_batch_is_sent_too_even_if_the_loop_lost_the_timer(
    consumer: PatientConsumer, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer.on_send_event_buffered()
    hub.later.clear()  # as when Celery connects anew
    later = time.monotonic() + EVENTS_SECONDS
    monkeypatch.setattr("worker.process.consumer.time.monotonic", lambda: later)

    consumer.on_send_event_buffered()

    assert len(hub.later) == 1


def test_a_worker_that_is_told_to_stop_sends_every_event_at_once(
    consumer: PatientConsumer, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    consumer.__dict__["_flush_events_promise"] = lambda: sent.append("events")
    monkeypatch.setattr("celery.worker.state.should_stop", 0)

    consumer.on_send_event_buffered()

    assert (sent, hub.later) == (["events"], [])


def test_what_waits_is_sent_before_the_consumer_stops_whatever_the_broker_says(
    consumer: PatientConsumer,
) -> None:
    done: list[str] = []

    class Events:
        def flush(self) -> None:
            done.append("events")
            raise ConnectionError

    class Steps:
        def stop(self, parent: object) -> None:
            assert parent is consumer
            done.append("steps")

    consumer.__dict__.update(event_dispatcher=Events(), blueprint=Steps())

    consumer.stop()

    assert done == ["events", "steps"]
