"""A store that others use too: with a user that may touch keys and channels of one prefix alone."""

import re
from pathlib import Path

import httpx2
import redis

from retouch import Client
from retouch.stack.ports import free_port
from shared.settings import REPOSITORY
from tests.support.stack import running_up
from tests.support.store_servers import plain_client, running_server
from tests.support.wait import wait_until
from tests.support.workers import picture

PREFIX = "team:"
DOCUMENTED = re.compile(r"^ACL SETUSER retouch .*~team:.*$", re.MULTILINE)


def foreign_keys(server: redis.Redis) -> list[str]:
    """Keys of both databases without the prefix."""
    return [
        key
        for database in (0, 1)
        for key in redis.Redis(
            port=server.connection_pool.connection_kwargs["port"],
            db=database,
            decode_responses=True,
        ).scan_iter()
        if not key.startswith(PREFIX)
    ]


def test_the_whole_service_works_for_a_user_who_may_touch_one_prefix_alone(
    tmp_path: Path,
) -> None:
    with running_server(tmp_path / "store", appendonly="yes") as (_, port):
        server = plain_client(port)
        (line,) = DOCUMENTED.findall((REPOSITORY / "docs/operations.md").read_text())
        server.execute_command(*line.replace("PASSWORD", "secret").split())
        store = f"redis://retouch:secret@127.0.0.1:{port}/0"
        with running_up(
            tmp_path / "up",
            "--flower",
            redis_url=store,
            key_prefix=PREFIX,
            blob_url="redis://",
            rate_limit="600/minute",
            flower_auth="a:b",
            flower_port=str(free_port()),
        ) as up:
            with Client(up.url) as client:
                job = client.wait(client.submit(picture(), lora="none", preview=True))
                assert job.state == "succeeded"
                assert client.image(job.id)
                assert [worker.base for worker in client.workers()] == ["tiny"]
                assert client.readiness() is None
            metrics = httpx2.get(f"{up.url}/metrics").text
            assert 'retouch_jobs_finished_total{state="succeeded"} 1.0' in metrics
            assert foreign_keys(server) == []
            log = "\n".join(path.read_text() for path in (up.data_dir / "logs").iterdir())
            wait_until(lambda: server.keys(f"{PREFIX}counts"), description="the ledger's counters")
        refused = [(entry["reason"], entry["object"]) for entry in server.acl_log()]
        assert refused == []
        assert "NOPERM" not in log
