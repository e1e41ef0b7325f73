"""Stores in any state that an operator may give them: Debian's redis-server with options."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from retouch.stack.ports import free_port
from tests.chaos.servers import binary
from tests.support.wait import wait_until


@contextmanager
def running_server(
    folder: Path, *arguments: str, port: int = 0, **options: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server in this folder, listening; killed at the end if it is there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    own = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder)} | options
    if "cluster_enabled" in options:
        # Its own choice, 10,000 above the port, is one that outgoing connections may have.
        own["cluster_port"] = str(free_port())
    flags = [part for name, value in own.items() for part in _flag(name, value)]
    log = folder / f"{port}.log"
    with log.open("wb") as file:
        command = [binary("redis-server"), *arguments, *flags]
        process = subprocess.Popen(command, stdout=file, stderr=file)

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        said = log.read_text()
        return "eady to accept connections" in said or "monitor master" in said

    try:
        wait_until(listens, description="the store to listen", seconds=30)
        yield process, port
    finally:
        process.kill()
        process.wait()


def _flag(name: str, value: str) -> list[str]:
    return [f"--{name.replace('_', '-')}", *value.split(" ")]


def plain_client(port: int) -> redis.Redis:
    return redis.Redis(port=port, decode_responses=True)


@contextmanager
def running_sentinel(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A Sentinel with this configuration, which it rewrites."""
    with running_server(config.parent, str(config), "--sentinel") as running:
        yield running
