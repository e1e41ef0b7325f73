"""How hints travel: Celery's settings, and that one that cannot be sent says so soon."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

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
