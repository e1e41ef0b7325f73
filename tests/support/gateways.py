"""Gateways with a real socket: a separate process, or a thread whose internals can be patched."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from api.app import create_app
from api.server.listening import make_server
from retouch.stack.ports import free_port
from shared.settings import Settings
from tests.support.wait import wait_until


@dataclass(frozen=True)
class Running:
    """A gateway process: its address, its log, its folder for temporary files."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    temporary: Path

    def cpu_seconds(self) -> float:
        """Its CPU time so far, whatever else this machine is doing."""
        spent = psutil.Process(self.process.pid).cpu_times()
        return float(spent.user + spent.system)

    def wait_until_up(self) -> None:
        # A client for each look would read the certificates, and take as long as the gateway.
        with httpx2.Client(base_url=self.url, timeout=1) as client:

            def is_up() -> bool:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    return client.get("/healthz").status_code == 200
                except httpx2.TransportError:
                    return False

            wait_until(is_up, description="the gateway to answer", seconds=90)


@contextmanager
def running_gateway(folder: Path, **environment: str) -> Iterator[Running]:
    """A running `python -m api`; killed at the end if it is still alive."""
    port, log, temporary = free_port(), folder / "gateway.log", folder / "tmp"
    temporary.mkdir(parents=True)
    inherited = {name: value for name, value in os.environ.items() if "RETOUCH_" not in name}
    own = {"PORT": str(port), "DATA_DIR": str(folder / "data")} | environment
    settings = {f"RETOUCH_{name.upper()}": value for name, value in own.items()}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env={**inherited, **settings, "TMPDIR": str(temporary)},
            stdout=file,
            stderr=file,
        )
    running = Running(process, f"http://127.0.0.1:{port}", log, temporary)
    try:
        running.wait_until_up()
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@contextmanager
def serving_thread(settings: Settings) -> Iterator[str]:
    """The same server in this process; yields its URL."""
    settings = settings.model_copy(update={"port": free_port()})
    server = make_server(create_app(settings), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, description="the server to start")
        yield f"http://127.0.0.1:{settings.port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
