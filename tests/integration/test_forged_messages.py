"""Whatever lies in the broker, a worker takes no orders from it: it only asks the ledger."""

import base64
import json
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from shared.blobs import open_blobs
from shared.jobs import JobState
from shared.ledger.fleet import Fleet
from shared.ledger.queue import Hints, make_celery
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.wait import wait_until
from tests.support.workers import picture, running_worker, spec_with_picture


class Evil:
    """What a pickle may do when it is opened."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(lease_seconds=2, renew_seconds=0.5, hint_seconds=1)


@pytest.fixture
def worker(
    settings: Settings, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "RETOUCH_ENGINE": "fake",
        "RETOUCH_REDIS_URL": settings.redis_url,
        "RETOUCH_BASE_MODEL": settings.base_model,
        "RETOUCH_DATA_DIR": str(settings.data_dir),
        "RETOUCH_HINT_SECONDS": "1",
    }
    with running_worker(environment, tmp_path / "worker.log") as process:
        ready = Fleet(redis_client).workers
        wait_until(ready, description="the worker's heartbeat", seconds=60)
        yield process


def envelope(body: bytes, kind: str = "application/json", **headers: object) -> str:
    """A message as Kombu lays it into a list of the broker."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8" if "json" in kind else "binary",
            "content-type": kind,
            "headers": {"task": "retouch.run", "id": str(uuid4()), "lang": "py"} | headers,
            "properties": {
                "body_encoding": "base64",
                "correlation_id": str(uuid4()),
                "delivery_info": {"exchange": "", "routing_key": "retouch.tiny"},
                "delivery_mode": 2,
                "delivery_tag": str(uuid4()),
                "priority": 0,
            },
        }
    )


def arguments(*args: object) -> bytes:
    return json.dumps([args, {}, {}]).encode()


def forgeries(mark: Path) -> dict[str, str]:
    evil = pickle.dumps([[Evil(mark)], {}, {}])
    return {
        "pickled": envelope(evil, "application/x-python-serialize"),
        "pickle that claims to be JSON": envelope(evil),
        "yaml": envelope(b"!!python/object/apply:os.system [id]", "application/x-yaml"),
        "another task": envelope(arguments("id"), task="os.system"),
        "a built-in task": envelope(arguments([]), task="celery.chunks"),
        "no task": envelope(arguments("x"), task=None),
        "a job that never was": envelope(arguments("0" * 32)),
        "a path for a job": envelope(arguments("../../etc/passwd")),
        "an object for a job": envelope(arguments({"$ne": None})),
        "too many arguments": envelope(arguments(*range(50))),
        "no arguments": envelope(b"null"),
        "not JSON inside": envelope(b"{{{"),
        "not even an envelope": "{",
        "a list for an envelope": "[]",
        "a bare word": "word",
        "no text": "\x00\x01",
    }


def test_forged_and_pickled_messages_are_refused_and_the_worker_lives(
    worker: subprocess.Popen[bytes],
    settings: Settings,
    store: JobStore,
    redis_client: redis.Redis,
    tmp_path: Path,
) -> None:
    blobs, mark = open_blobs(settings), tmp_path / "opened"
    broker = redis.Redis.from_url(settings.broker)
    hints = Hints(make_celery(settings, "tiny"), "tiny")
    (before,) = Fleet(redis_client).workers()
    # Given forged messages before and behind a true job's
    specs = [spec_with_picture(blobs, picture(seed=seed)) for seed in range(2)]
    for spec in specs:
        for forged in forgeries(mark).values():
            broker.lpush("retouch.tiny", forged)
        store.submit(spec)
        hints.send(spec.id)

    # Then the jobs are done all the same
    for spec in specs:
        wait_until(
            lambda spec=spec: store.get(spec.id).state.is_terminal,
            description="a job among forgeries",
            seconds=90,
        )
        assert store.get(spec.id).state is JobState.SUCCEEDED
    wait_until(
        lambda: broker.llen("retouch.tiny") == 0, description="every message read", seconds=90
    )
    assert worker.poll() is None
    # And nothing was opened, and the same process waits for more
    assert not mark.exists()
    (after,) = Fleet(redis_client).workers()
    assert (after.id, after.pid) == (before.id, before.pid)
    broker.close()
