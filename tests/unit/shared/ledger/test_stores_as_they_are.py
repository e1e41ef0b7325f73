"""Stores that people have: with TLS, sockets, permissions, Sentinels, replicas, and unfit ones."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from kombu import pools

from api.__main__ import refuse_refusing_store
from retouch.diagnosis.machine import store as store_finding
from retouch.stack.ports import free_port
from shared.blobs import open_blobs
from shared.errors import StorageFull, StoreRefuses, StoreUnavailable
from shared.ledger.queue import Hints, make_celery
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore
from shared.ledger.store_check import examine_store
from shared.settings import REPOSITORY, BadSettings, Settings, load_settings
from tests.support.certificates import Authority
from tests.support.fleet import claim, progress
from tests.support.jobs import make_spec
from tests.support.sentinels import running_group
from tests.support.store_servers import plain_client, running_server
from tests.support.wait import wait_until

Make = Callable[..., Settings]
ACL_LINE = re.compile(r"^ACL SETUSER retouch .*~\* .*$", re.MULTILINE)


def ledger(settings: Settings) -> JobStore:
    return JobStore(connect(settings.redis_url), settings)


def goes_through(settings: Settings) -> None:
    """A job, its hint and a picture go in and come out again."""
    store, hints = ledger(settings), Hints(make_celery(settings, "tiny"), "tiny")
    spec = make_spec()
    store.submit(spec)
    hints.send(spec.id)
    assert hints.pending() == 1
    claimed = claim(store)
    store.report_progress(claimed, progress(50.0))
    assert store.get(spec.id).progress.percent == 50.0
    assert store.elect("role", "me", 5)
    store.uptime_seconds()
    blobs = open_blobs(settings)
    blobs.put("results/a", b"picture")
    assert blobs.get("results/a") == b"picture"


# --- unfit ones


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cluster_enabled": "yes"}, "Redis Cluster; retouch needs a single server, or Sentinel"),
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru"),
        ({"maxmemory_policy": "volatile-ttl"}, "set it to noeviction"),
        ({"requirepass": "secret"}, "the URL has no password for it"),
    ],
)
def test_a_store_that_loses_jobs_is_refused_at_start_and_by_doctor(
    tmp_path: Path, make_settings: Make, options: dict[str, str], reason: str
) -> None:
    with running_server(tmp_path / "store", **options) as (_, port):
        settings = make_settings(redis_url=f"redis://127.0.0.1:{port}/0")
        with pytest.raises(BadSettings, match=f"RETOUCH_REDIS_URL: .*{reason}"):
            refuse_refusing_store(settings)
        found = store_finding(settings)

    assert (found.state, reason in found.detail) == ("missing", True)


def test_an_old_server_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis.Redis()
    monkeypatch.setattr(client, "info", lambda: {"redis_version": "5.0.14"})

    with pytest.raises(StoreRefuses, match=r"Redis 5\.0\.14; retouch needs Redis 7\.0 or newer"):
        examine_store(client)


def test_a_store_without_a_file_is_warned_of_and_one_with_it_is_not(tmp_path: Path) -> None:
    for name, appendonly, warnings in (("a", "no", 1), ("b", "yes", 0)):
        with running_server(tmp_path / name, appendonly=appendonly) as (_, port):
            assert len(examine_store(plain_client(port))) == warnings


def test_a_store_that_is_away_at_the_start_may_come_back(make_settings: Make) -> None:
    refuse_refusing_store(make_settings(redis_url="redis://127.0.0.1:1/0"))


# --- permissions


def with_user(store_url: str, line: str) -> str:
    """The store's address for a user that this ACL line makes."""
    client = connect(store_url)
    client.execute_command(*line.replace("PASSWORD", "secret").split())
    client.close()
    return store_url.replace("redis://", "redis://retouch:secret@")


@pytest.mark.usefixtures("redis_client")
def test_the_documented_permissions_are_enough(store_url: str, make_settings: Make) -> None:
    (line,) = ACL_LINE.findall((REPOSITORY / "docs/operations.md").read_text())
    url = with_user(store_url, f"{line} -info")

    settings = make_settings(redis_url=url, blob_url="redis://")

    assert examine_store(connect(url)) == []  # without INFO there is nothing to warn of
    goes_through(settings)
    assert ledger(settings).memory() is None


@pytest.mark.parametrize("command", ["eval", "xadd", "publish", "zadd"])
@pytest.mark.usefixtures("redis_client")
def test_a_permission_that_is_lacking_is_named_at_start(
    store_url: str, make_settings: Make, command: str
) -> None:
    (line,) = ACL_LINE.findall((REPOSITORY / "docs/operations.md").read_text())
    url = with_user(store_url, f"{line} -{command}")

    with pytest.raises(BadSettings, match=f"'{command}'"):
        refuse_refusing_store(make_settings(redis_url=url))


def test_no_refusal_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETOUCH_REDIS_URL", "http://user:hunter2@store:6379/0")

    with pytest.raises(BadSettings) as refused:
        load_settings(_env_file=None)

    assert "hunter2" not in str(refused.value)


# --- ways to reach one


def test_a_socket_file_serves_ledger_broker_and_blobs(tmp_path: Path, make_settings: Make) -> None:
    path = tmp_path / "store.sock"
    with running_server(tmp_path / "store", unixsocket=str(path)):
        goes_through(make_settings(redis_url=f"unix://{path}", blob_url="redis://"))


@contextmanager
def tls_store(folder: Path, authority: Authority) -> Iterator[str]:
    folder.mkdir()
    chain, key = authority.serve(folder, "localhost")
    options = {"tls_cert_file": str(chain), "tls_key_file": str(key), "tls_auth_clients": "no"}
    tls_port = free_port()
    with running_server(folder, tls_port=str(tls_port), **options):
        yield f"rediss://localhost:{tls_port}/0"


def test_tls_is_verified_by_ledger_broker_and_blobs(tmp_path: Path, make_settings: Make) -> None:
    authority, other = Authority(), Authority()
    trusted, foreign = authority.trusted_by(tmp_path), tmp_path / "other"
    foreign.mkdir()
    with tls_store(tmp_path / "store", authority) as url:
        for wrong in ("", str(other.trusted_by(foreign))):
            settings = make_settings(store_ca=wrong, redis_url=url, blob_url=url)
            for attempt in (
                ledger(settings).ping,
                lambda: Hints(make_celery(settings, "tiny"), "tiny").send("a"),  # noqa: B023
                lambda: open_blobs(settings).get("a"),  # noqa: B023
            ):
                with pytest.raises(StoreUnavailable):
                    attempt()
            pools.reset()  # Kombu keeps connections for the whole process, by address alone
        goes_through(make_settings(store_ca=str(trusted), redis_url=url, blob_url=url))


def test_a_group_of_sentinels_loses_nothing_that_replicas_had_when_its_primary_dies(
    tmp_path: Path, make_settings: Make
) -> None:
    with running_group(tmp_path) as group:
        url = group.url
        settings = make_settings(redis_url=url, blob_url=url, store_replicas=1)
        group.wait_until_replicating()
        goes_through(settings)
        store, specs = ledger(settings), [make_spec() for _ in range(20)]
        for spec in specs:
            store.submit(spec)
        # When
        group.primary.kill()
        # Then everything that was acknowledged is there as soon as the other one is primary
        alone = JobStore(connect(url), make_settings(redis_url=url))
        wait_until(lambda: _takes_writes(alone), description="the failover", seconds=30)
        assert [alone.get(spec.id).id for spec in specs] == [spec.id for spec in specs]
        assert alone.queue_size("tiny") == 20


def _takes_writes(store: JobStore) -> bool:
    try:
        store.count("written")
    except StoreUnavailable:
        return False
    return True


# --- what replicas and memory do


def test_a_promise_to_replicas_that_are_not_there_is_not_given(
    tmp_path: Path, make_settings: Make
) -> None:
    with running_server(tmp_path / "store") as (_, port):
        settings = make_settings(redis_url=f"redis://127.0.0.1:{port}/0", store_replicas=1)
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            ledger(settings).submit(make_spec())


def test_every_refusal_of_a_store_in_trouble_ends_with_the_trouble(
    tmp_path: Path, make_settings: Make
) -> None:
    with running_server(tmp_path / "store") as (_, port):
        store = ledger(make_settings(redis_url=f"redis://127.0.0.1:{port}/0"))
        server = plain_client(port)
        troubles = [
            ({"min-replicas-to-write": 1}, {"min-replicas-to-write": 0}, StoreUnavailable),
            ({"maxmemory": 1}, {"maxmemory": 0}, StorageFull),
        ]
        for trouble, relief, error in troubles:
            _set(server, trouble)
            with pytest.raises(error):
                store.submit(make_spec())
            _set(server, relief)
            store.submit(make_spec())
        server.replicaof("127.0.0.1", 1)
        with pytest.raises(StoreUnavailable):
            store.submit(make_spec())
        server.replicaof("NO", "ONE")
        store.submit(make_spec())


def _set(server: redis.Redis, values: dict[str, int]) -> None:
    for name, value in values.items():
        server.config_set(name, value)
