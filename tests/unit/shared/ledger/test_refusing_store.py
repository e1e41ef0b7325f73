"""A store that refuses when a process starts: for good, or for now."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from api import __main__ as gateway
from api.__main__ import refuse_refusing_store
from shared.errors import StorageFull, StoreUnavailable
from shared.ledger.redis_client import connect
from shared.ledger.store_check import examine_store
from shared.settings import BadSettings, Settings
from tests.support.embedded_store import running_store
from tests.support.wait import wait_until
from worker.process import exits, starting
from worker.process.starting import start_worker, wait_for_store

Make = Callable[..., Settings]


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[redis.Redis]:
    """A store of the test's own, whose settings it may change."""
    with running_store(tmp_path) as url, connect(url) as client:
        yield client


class Log:
    """Takes lines of a log whatever logging is configured to do."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def warning(self, event: str, **facts: object) -> None:
        self._lines.append(f"{event} {facts}")

    critical = warning


@pytest.fixture
def said_to_log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(starting, "logger", Log(lines))
    monkeypatch.setattr(gateway, "logger", Log(lines))
    return lines


def url_of(client: redis.Redis, login: str = "") -> str:
    return f"redis://{login}127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def wanting_a_password(client: redis.Redis) -> str:
    client.config_set("requirepass", "secret")
    return url_of(client)


def with_another_password(client: redis.Redis) -> str:
    client.config_set("requirepass", "secret")
    return url_of(client, ":wrong@")


def with_a_user_who_may_only_read(client: redis.Redis) -> str:
    client.acl_setuser("reader", enabled=True, passwords=["+x"], keys=["*"], categories=["+@read"])
    return url_of(client, "reader:x@")


REFUSALS = [
    (wanting_a_password, "no password for it"),
    (with_another_password, "or a wrong one"),
    (with_a_user_who_may_only_read, "may not do"),
]


@pytest.mark.parametrize(("refusing", "said"), REFUSALS)
def test_neither_gateway_nor_worker_starts_with_a_store_that_will_always_refuse(
    own_store: redis.Redis,
    make_settings: Make,
    said_to_log: list[str],
    refusing: Callable[[redis.Redis], str],
    said: str,
) -> None:
    settings = make_settings(redis_url=refusing(own_store))
    with pytest.raises(
        BadSettings, match=f"RETOUCH_REDIS_URL: the store refuses the request.*{said}"
    ):
        refuse_refusing_store(settings)
    assert start_worker(settings, "here-1-1") == exits.CANNOT_START
    (told,) = said_to_log
    assert said in told
    assert "correct RETOUCH_REDIS_URL" in told


def full(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)


def replica(client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", 1)


def mended(client: redis.Redis) -> None:
    client.config_set("maxmemory", 0)
    client.replicaof("no", "one")


@pytest.mark.parametrize(
    ("broken", "kind", "said"),
    [(full, StorageFull, "memory is full"), (replica, StoreUnavailable, "takes no writes")],
)
def test_a_store_that_refuses_for_now_is_waited_for_in_clear_words(
    own_store: redis.Redis,
    make_settings: Make,
    monkeypatch: pytest.MonkeyPatch,
    said_to_log: list[str],
    broken: Callable[[redis.Redis], None],
    kind: type[Exception],
    said: str,
) -> None:
    # Given
    monkeypatch.setattr(starting, "LOOK_SECONDS", 0.02)
    broken(own_store)
    with pytest.raises(kind, match=said):
        examine_store(own_store)
    # Then the gateway starts, and the worker waits
    refuse_refusing_store(make_settings(redis_url=url_of(own_store)))
    waiting = threading.Thread(target=wait_for_store, args=(own_store,), daemon=True)
    waiting.start()
    wait_until(
        lambda: sum(said in line for line in said_to_log) >= 2,
        description="both to say what they wait for",
    )
    assert waiting.is_alive()
    # When it takes writes again
    mended(own_store)
    waiting.join(timeout=10)
    assert not waiting.is_alive()
