"""How hints travel: Celery's settings, and that one that cannot be sent says so soon."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.transport.virtual import base as virtual_base

from shared.errors import StoreUnavailable
from shared.ledger.queue import Hints, make_celery
from shared.settings import Settings


def test_a_hint_to_a_dead_broker_fails_without_the_six_seconds_that_kombu_would_take(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(broker_url="redis://127.0.0.1:1/0")
    hints = Hints(make_celery(settings, "tiny"), "tiny")
    started = time.monotonic()

    with pytest.raises(StoreUnavailable):
        hints.send("0" * 32)

    assert time.monotonic() - started < 5.5


@pytest.mark.parametrize(
    "address",
    ["redis://127.0.0.1:1/0", "sentinel://127.0.0.1:1/group/0", "unix:///nowhere/redis.sock?db=1"],
)
def test_a_channel_keeps_its_client_as_long_as_its_connections(
    make_settings: Callable[..., Settings], address: str
) -> None:
    app = make_celery(make_settings(broker_url=address), "tiny")
    with app.connection_for_write() as connection:
        kind: Any = connection.transport.Channel  # type: ignore[attr-defined]
        channel = kind.__new__(kind)
    pools = [SimpleNamespace(connection_kwargs={}) for _ in range(2)]
    made: list[object] = []

    class Client:
        def __init__(self, connection_pool: object) -> None:
            self.connection_pool = connection_pool
            made.append(self)

    channel.__dict__.update(Client=Client, _closing=True)
    for pool in (pools[0], pools[0], pools[1], pools[1]):
        channel._pool = pool
        with channel.conn_or_acquire() as client:
            assert client.connection_pool is pool

    assert len(made) == 2


def test_celery_is_set_so_that_it_distributes_and_does_not_have_to_remember(
    settings: Settings,
) -> None:
    app = make_celery(settings, "tiny")
    wanted = {
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_ignore_result": True,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "worker_pool": "threads",
        "worker_send_task_events": True,
        "task_create_missing_queues": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 50,
        "broker_connection_retry_on_startup": True,
    }
    assert {name: app.conf[name] for name in wanted} == wanted
    transport = {
        "visibility_timeout": 86_400,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }
    assert transport.items() <= app.conf.broker_transport_options.items()
    assert [queue.name for queue in app.conf.task_queues] == ["retouch.tiny"]


# --- what a worker has received


@contextmanager
def receiving(app: Celery, prefetch: int = 2) -> Iterator[tuple[Any, list[Any]]]:
    """A channel that receives hints as a worker does, and the messages so far."""
    received: list[Any] = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        consumer = app.amqp.TaskConsumer(channel)
        consumer.register_callback(lambda _body, message: received.append(message))
        consumer.qos(prefetch_count=prefetch)
        consumer.consume()
        yield connection, received


def receive(connection: Any, received: list[Any], count: int) -> None:
    while len(received) < count:
        connection.drain_events(timeout=10)


@pytest.fixture
def app(
    redis_client: redis.Redis,  # empties the store
    store_url: str,
    make_settings: Callable[..., Settings],
) -> Celery:
    del redis_client
    return make_celery(make_settings(redis_url=store_url), "tiny")


def test_no_record_is_kept_of_hints_and_finished_ones_are_gone(
    app: Celery, redis_client: redis.Redis
) -> None:
    hints = Hints(app, "tiny")
    hints.send("0" * 32)
    with receiving(app) as (connection, received):
        receive(connection, received, 1)
        assert redis_client.keys("*unacked*") == []
        received[0].ack()
    assert (hints.pending(), redis_client.keys("*unacked*")) == (0, [])


def test_no_more_hints_are_received_than_asked_for_and_unfinished_ones_are_given_back(
    app: Celery,
) -> None:
    hints = Hints(app, "tiny")
    for _ in range(3):
        hints.send("0" * 32)
    with receiving(app, prefetch=2) as (connection, received):
        receive(connection, received, 2)
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.5)
        received[0].ack()
        receive(connection, received, 3)
        assert hints.pending() == 0
        received[1].reject(requeue=True)
        assert hints.pending() == 1
    assert hints.pending() == 2


def test_hints_that_cannot_be_given_back_are_left_to_the_reaper(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: Any, **_options: Any) -> None:
        raise redis.ConnectionError("away")

    dumped: list[Any] = []
    monkeypatch.setattr(virtual_base, "emergency_dump_state", lambda *_, **__: dumped.append(1))
    Hints(app, "tiny").send("0" * 32)
    with receiving(app) as (connection, received):
        receive(connection, received, 1)
        monkeypatch.setattr(type(received[0].channel), "_put", away)
    assert dumped == []
