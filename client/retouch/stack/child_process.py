"""One child process of the stack: its command, its log, its end.

A child leads its own process group, so that Ctrl-C in the terminal reaches only `retouch` and
nothing of the child can outlive it. Start it from a thread that lives as long as the child may: the
kernel treats the end of that thread as the end of the parent.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from shared import die_with_parent

LAUNCHER = Path(die_with_parent.__file__)
TAIL_LINES = 15
TAIL_BYTES = 16_384
LARGEST_LOG_BYTES = 20 * 2**20


@dataclass(frozen=True)
class ChildSpec:
    """A command to run. `grace_seconds` is the time between SIGTERM and SIGKILL."""

    name: str
    title: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    grace_seconds: float = 5.0
    death_signal: signal.Signals = signal.SIGKILL
    input: bytes | None = field(default=None, repr=False)
    inherited_files: tuple[int, ...] = ()


class Child:
    """A process that runs a spec. `start` and `reap` come in pairs."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    def start(self) -> None:
        assert self._process is None, f"{self.spec.name} runs already"
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        _rotate(self.spec.log)
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        with self.spec.log.open("ab") as log:
            self._log_offset = log.tell()
            self._process = subprocess.Popen(
                [*launch, str(int(self.spec.death_signal)), *self.spec.command],
                stdin=subprocess.DEVNULL if self.spec.input is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.spec.environment),
                pass_fds=self.spec.inherited_files,
                process_group=0,
            )
        self.started_at = time.monotonic()
        self._feed()

    @property
    def is_running(self) -> bool:
        return self._process is not None and not self._has_exited(self._process)

    @property
    def needs_reaping(self) -> bool:
        """Whether it was started and has ended by itself."""
        return self._process is not None and self._has_exited(self._process)

    def terminate(self) -> None:
        """Asks it to end."""
        if self.is_running and self._process:
            self._process.send_signal(signal.SIGTERM)

    def end(self, hurried: Callable[[], bool]) -> None:
        """Waits for its end after `terminate`; kills it when the grace period is over or a fast end
        is wanted.
        """
        deadline = time.monotonic() + self.spec.grace_seconds
        while self.is_running and time.monotonic() < deadline and not hurried():
            time.sleep(0.02)
        self.reap()

    def reap(self) -> int | None:
        """Kills the rest of its group and collects it; returns its exit status.

        The group is killed while its leader is still a zombie, so that its number cannot belong to
        another process by then.
        """
        if self._process is None:
            return None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        self._process = None
        return status

    def last_lines(self) -> str:
        """The end of its log since its last start."""
        with suppress(OSError), self.spec.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_offset, size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
            return "\n".join(lines[-TAIL_LINES:])
        return ""

    def _feed(self) -> None:
        if self._process and self._process.stdin and self.spec.input is not None:
            with suppress(BrokenPipeError), self._process.stdin as pipe:
                pipe.write(self.spec.input)

    @staticmethod
    def _has_exited(process: subprocess.Popen[bytes]) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, flags) is not None


def _rotate(log: Path) -> None:
    """Keeps one older log, so that a long run does not fill the disk."""
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
