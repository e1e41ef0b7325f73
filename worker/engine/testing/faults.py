"""Faults of the fake engine: killed, frozen, hung or slow, at a named point or in a named job.

A test arms a fault by a file `armed/{point}` that contains the action. The worker that reaches the
point first removes the file and has the fault. A job requests its own fault by a prompt such as
`fault:kill@2`, at its second step, or `fault:stall=2@every-3`, at every third. Every step is a line
of `history.jsonl`.
"""

import ctypes
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

from worker.engine.base.device_lost import DeviceLost, WeightsChanged
from worker.engine.interface import EngineJob

_PROMPT = re.compile(r"^fault:(?P<action>[a-z_]+(?:=[\d.]+)?)@(?P<every>every-)?(?P<step>\d+)$")
FOREVER_SECONDS = 3600.0


class Faults:
    """The faults in one folder; none if its name is empty."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._complaint: WeightsChanged | None = None

    def step(self, job: EngineJob, step: int) -> None:
        """A step is about to be executed."""
        if self._folder is None:
            return
        self.note("step", seed=job.seed, step=step)
        asked = _PROMPT.match(job.prompt)
        if asked and _is_due(step, int(asked["step"]), every=bool(asked["every"])):
            act(asked["action"])
        self.strike(f"step-{step}")

    def step_done(self, job: EngineJob, step: int) -> None:
        """A step has been executed."""
        self.note("step_done", seed=job.seed, step=step)

    def complaint(self) -> DeviceLost | None:
        """The engine's complaint, once `armed/complaint` exists; one process takes it."""
        if self._complaint is None and self._folder is not None:
            said = self._take("complaint")
            self._complaint = WeightsChanged(said) if said else None
        return self._complaint

    def note(self, what: str, **facts: object) -> None:
        """Appends one line of history; only whole lines, whichever processes write."""
        if self._folder is None:
            return
        # CLOCK_MONOTONIC is the same for all processes of a machine.
        line = {"t": time.monotonic(), "pid": os.getpid(), "what": what} | facts
        descriptor = os.open(
            self._folder / "history.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
        )
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)

    def strike(self, point: str) -> None:
        """Triggers the fault that is armed for this point, if this process takes it first."""
        if self._folder is None:
            return
        action = self._take(point)
        if action is not None:
            self.note("fault", point=point, action=action)
            act(action)

    def _take(self, point: str) -> str | None:
        """The action armed for this point, if this process takes it first."""
        assert self._folder is not None
        armed = self._folder / "armed" / point
        mine = armed.with_name(f".{point}.{os.getpid()}")
        try:
            armed.rename(mine)
        except FileNotFoundError:
            return None
        action = mine.read_text(encoding="utf-8")
        mine.unlink()
        return action


def _is_due(step: int, named: int, *, every: bool) -> bool:
    return step % named == 0 if every else step == named


def act(action: str) -> None:
    """Triggers one fault in this process now."""
    name, _, amount = action.partition("=")
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "kill_tree":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    elif name == "freeze":
        # Sent to this thread, which stops at once; with the process as target it would finish its
        # time slice.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    elif name == "terminate":
        os.kill(os.getppid(), signal.SIGTERM)
    elif name == "hang":
        time.sleep(FOREVER_SECONDS)
    elif name == "slow":
        time.sleep(float(amount))
    elif name == "stall":
        # PyDLL keeps the interpreter's lock: no other thread of this process runs meanwhile.
        ctypes.PyDLL(None).usleep(int(float(amount) * 1e6))
    elif name == "device_lost":
        raise DeviceLost("the fake device is gone")
    else:
        raise ValueError(f"there is no fault called {name}")
