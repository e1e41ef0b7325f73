"""`retouch` as a user starts it: real processes, and what they leave behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from retouch.stack.ports import free_port
from tests.support.wait import wait_until

RETOUCH = str(Path(sys.executable).with_name("retouch"))
START_SECONDS = 110.0


@dataclass
class RunningUp:
    """One `retouch up`, with all its processes."""

    process: subprocess.Popen[str]
    url: str
    data_dir: Path
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def family(self) -> list[psutil.Process]:
        """The process and all its descendants, including store and workers."""
        mother = psutil.Process(self.process.pid)
        return [mother, *mother.children(recursive=True)]

    def child(self, word: str) -> psutil.Process:
        """The direct child whose command has this word as an argument, or as its name."""
        children = psutil.Process(self.process.pid).children()
        (found,) = [one for one in children if word in one.cmdline() or word in one.name()]
        return found

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, f"it ended:\n{self.said()}"
            return "is ready" in self.said()

        wait_until(is_ready, description="retouch up to be ready", seconds=START_SECONDS)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 90.0) -> int:
        """Sends a signal and waits; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


@contextmanager
def starting_up(
    folder: Path, *options: str, port: int = 0, **environment: str
) -> Iterator[RunningUp]:
    """A `retouch up` that may still be starting. Killed at the end if it is still alive."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    data_dir, output = folder / "data", folder / "output"
    command = [RETOUCH, "up", "--port", str(port), "--data-dir", str(data_dir), *options]
    with output.open("w") as file:
        process = subprocess.Popen(
            command,
            env=clean_environment(folder, environment),
            cwd=folder,
            stdout=file,
            stderr=file,
            text=True,
        )
    running = RunningUp(process, f"http://127.0.0.1:{port}", data_dir, output)
    try:
        yield running
    finally:
        if process.poll() is None:
            running.end(signal.SIGKILL)


@contextmanager
def running_up(folder: Path, *options: str, **environment: str) -> Iterator[RunningUp]:
    """A `retouch up` that accepts jobs."""
    with starting_up(folder, *options, **environment) as running:
        running.wait_until_ready()
        yield running
        if running.process.poll() is None:
            running.end()


def retouch(
    arguments: Sequence[str], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        [RETOUCH, *arguments],
        env=clean_environment(folder, environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def clean_environment(folder: Path, changes: Mapping[str, str]) -> dict[str, str]:
    """None of the user's settings; fast fake steps; temporary files in this folder."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if "RETOUCH_" not in name}
    return {
        **inherited,
        "RETOUCH_ENGINE": "fake",
        "RETOUCH_GUARDS": "off",
        "RETOUCH_COMPILE": "off",
        "TMPDIR": str(temporary),
        "LC_ALL": "C.UTF-8",
    } | {f"RETOUCH_{name.upper()}": value for name, value in changes.items()}


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; init may take a while to collect an orphan."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def listening_ports(processes: Sequence[psutil.Process]) -> set[int]:
    """The TCP ports on which these processes listen."""
    return {
        connection.laddr.port
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
