"""Runs the engine process as a child: starts it, passes signals on, and restarts it when it ends.

Owns the child's lifetime. A crash of CUDA, a segfault or the kernel's out-of-memory killer ends
only the child; its jobs are returned at once (worker/process/child_reaper.py). Never imports torch.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from shared.periodic import note_failure
from shared.settings import Settings
from worker.process import exits

if TYPE_CHECKING:
    from worker.process.child_reaper import ChildReaper

logger = structlog.get_logger(__name__)

# Torch's threads sleep at their barriers instead of spinning for one that has no core: if other
# processes use the cores too (the gateway, a browser), a step takes half to a fifth of the time.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
# Time after the child's own grace period for returning its jobs and exiting.
AFTER_GRACE_SECONDS = 8.0
# A child that ran this long is not in a crash loop; its next restart is fast again.
HEALTHY_SECONDS = 60.0


class Supervisor:
    """Runs once, in the main thread. SIGTERM and SIGINT end it; a second one makes the end faster.

    The child's id is `{holder}-{n}`. The holder, which is this supervisor, keeps a device between
    one child and the next. `make_child_reaper` is called while the first child starts, which takes
    much longer.
    """

    def __init__(
        self,
        settings: Settings,
        make_child_reaper: "Callable[[], ChildReaper]",
        command: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._make_child_reaper = make_child_reaper
        self._command = command or [sys.executable, "-P", "-m", "worker.process.engine_child"]
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:4]}"
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._delay = settings.restart_seconds

    def run(self) -> int:
        """Keeps a child running until told to stop; returns the exit code for this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            return self._keep_running()
        finally:
            self._child_reaper.give_back_device(self._holder)

    @cached_property
    def _child_reaper(self) -> "ChildReaper":
        return self._make_child_reaper()

    def _keep_running(self) -> int:
        generation, status = 0, 0
        while not self._stopping.is_set():
            generation += 1
            worker_id, began = f"{self._holder}-{generation}", time.monotonic()
            status = self._run_child(worker_id)
            self._child_reaper.reap(worker_id, status, blame=not self._stopping.is_set())
            if status == exits.CANNOT_START and generation == 1:
                # A mistake in the settings must be visible, not retried forever.
                return status
            if not self._stopping.is_set():
                self._pause(status, time.monotonic() - began)
        return 1 if status == -signal.SIGKILL else 0

    def _run_child(self, worker_id: str) -> int:
        command = [*self._command, worker_id, str(os.getpid())]
        try:
            self._child = subprocess.Popen(command, env=PATIENT_THREADS | os.environ)
        except OSError as error:
            note_failure("supervisor", error)  # too many processes at the moment
            return exits.NOT_STARTED
        if self._stopping.is_set():  # the signal came while the child was being started
            self._child.terminate()
        self._child_reaper.prepare()
        status = self._child.wait()
        self._child = None
        return status

    def _pause(self, status: int, ran_seconds: float) -> None:
        if ran_seconds > HEALTHY_SECONDS:
            self._delay = self._settings.restart_seconds
        logger.warning("engine process ended", status=status, restart_in_seconds=self._delay)
        self._stopping.wait(self._delay)
        self._delay = min(self._delay * 2, self._settings.restart_max_seconds)

    def _on_signal(self, _number: int, _frame: object) -> None:
        first = not self._stopping.is_set()
        self._stopping.set()
        if self._child is None:
            return
        self._child.terminate()
        if first:
            grace = self._settings.grace_seconds + AFTER_GRACE_SECONDS
            killer = threading.Timer(grace, self._child.kill)
            killer.daemon = True
            killer.start()
