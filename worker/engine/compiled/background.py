"""Has code made for the kinds that blocks ask for, in the background, and loads it.

Owns the time: code from disk at once, new code only when the worker has run for a while, by one
process at a time. A block reads `Wanted.code` and never waits for it.
"""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import structlog
import torch

from worker.engine.compiled.code import CannotLoad, Code
from worker.engine.compiled.making import MOST_DEVICE_BYTES, Wish
from worker.engine.compiled.regions import Kind, skeleton
from worker.engine.compiled.shelf import Broken, Shelf
from worker.engine.compiled.toolchain import environment

logger = structlog.get_logger(__name__)

# Below everything else, and not quite the lowest: on a busy machine that would take hours.
NICENESS = 15
# From the engine's start until code is made, so that the first jobs have the machine to themselves.
PATIENCE_SECONDS = 60.0
# Between two looks at a folder in which another worker makes code.
LOOK_SECONDS = 10.0
# The compiler needs 0.7 GB, and on a GPU what `making` allows itself; jobs keep a reserve.
LEAST_FREE_BYTES = 2 * 2**30
LEAST_FREE_DEVICE_BYTES = 2 * MOST_DEVICE_BYTES


@dataclass
class Wanted:
    """A kind that blocks have asked for; `work` counts the pixels for which they did."""

    kind: Kind
    module: torch.nn.Module
    code: Code | None = None
    work: int = 0
    is_looked_up: bool = False
    is_settled: bool = False
    seconds: float = 0.0


class Background:
    """One thread, and while code is made one process. `makes` is False where no compiler is: code
    from disk is used all the same. `generation` grows with every code that has come or gone.
    """

    def __init__(
        self,
        folder: Path,
        makes: bool = True,
        patience: float = PATIENCE_SECONDS,
        niceness: int = NICENESS,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.generation = 0
        self._shelf = Shelf(folder)
        self._folder = folder
        self._makes = makes
        self._niceness = niceness
        self._begins = time.monotonic() + patience
        self._wanted: dict[Kind, Wanted] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self.state = "waiting" if makes else "no compiler"
        self._thread = threading.Thread(target=self._serve, name="compiled", daemon=True)
        self._thread.start()

    def want(self, kind: Kind, module: torch.nn.Module) -> Wanted:
        """What is or will be there for this kind. Returns at once; for the engine's thread."""
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = Wanted(kind, module)
            with self._changed:
                self._wanted = {**self._wanted, kind: wanted}
                self._changed.notify()
        return wanted

    def give_up(self, wanted: Wanted, reason: BaseException) -> None:
        """After a failure of code: its blocks run as usual from now on."""
        self._use(wanted, None)
        self._shelf.forget(wanted.kind)
        logger.warning("compiled code failed", kind=wanted.kind.digest, reason=str(reason)[:500])

    def _use(self, wanted: Wanted, path: Path | None) -> None:
        """Raises CannotLoad."""
        wanted.code = None if path is None else Code(path, self.device)
        self.generation += 1

    def shown(self) -> dict[str, Any]:
        """For people to read."""
        kinds = tuple(self._wanted.values())
        return {
            "state": self.state,
            "kinds": len(kinds),
            "in_use": sum(wanted.code is not None for wanted in kinds),
            "seconds": round(sum(wanted.seconds for wanted in kinds), 1),
        }

    def close(self) -> None:
        """Ends thread and process; code that is being made is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._end_process()
        self._thread.join()

    def _serve(self) -> None:
        try:
            self._serve_wishes()
        except Exception as error:
            # Such as a folder that cannot be written: jobs run without code.
            self.state = "failed"
            logger.warning("blocks of the base not compiled", reason=str(error)[:500])

    def _serve_wishes(self) -> None:
        while not self._closing:
            missing = self._looked_up()
            seconds = None
            if missing and self._makes:
                seconds = self._begins - time.monotonic()
                if seconds <= 0:
                    seconds = None if self._made(missing) else LOOK_SECONDS
            elif not missing and self.state == "waiting" and self._wanted:
                self.state = "ready"
            with self._changed:
                if not self._closing and not self._has_new():
                    self._changed.wait(seconds)

    def _has_new(self) -> bool:
        return not all(wanted.is_looked_up for wanted in self._wanted.values())

    def _looked_up(self) -> list[Wanted]:
        """Loads what is on disk; returns what is not."""
        missing = []
        for wanted in [each for each in self._wanted.values() if not each.is_settled]:
            wanted.is_looked_up = True
            try:
                path = self._shelf.find(wanted.kind)
                if path is not None:
                    self._use(wanted, path)
            except (Broken, CannotLoad) as error:
                wanted.is_settled = True
                self.give_up(wanted, error)
                continue
            wanted.is_settled = self._shelf.is_known(wanted.kind)
            if not wanted.is_settled:
                missing.append(wanted)
        return missing

    def _made(self, missing: list[Wanted]) -> bool:
        """Has code made, the most wanted first; False if this is not the time for it."""
        if not self._has_memory():
            return False
        with self._shelf.making() as mine:
            if not mine:
                return False
            logger.info("compiling blocks of the base", kinds=len(missing))
            self.state, started = "compiling", time.monotonic()
            by_kind = {wanted.kind.digest: wanted for wanted in missing}
            order = sorted(missing, key=lambda wanted: -wanted.work)
            try:
                self._run([Wish(each.kind, skeleton(each.module)) for each in order], by_kind)
            except Exception as error:
                logger.warning("blocks of the base not compiled", reason=str(error)[:500])
            for wanted in missing:
                wanted.is_settled = True
            self.state = "ready"
        if not self._closing:
            in_use = sum(wanted.code is not None for wanted in missing)
            seconds = round(time.monotonic() - started)
            logger.info("compiled blocks of the base", kinds=in_use, seconds=seconds)
        return True

    def _has_memory(self) -> bool:
        if psutil.virtual_memory().available < LEAST_FREE_BYTES:
            return False
        if self.device.type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(self.device)
        return free >= LEAST_FREE_DEVICE_BYTES

    def _run(self, wishes: list[Wish], by_kind: dict[str, Wanted]) -> None:
        files = Path(tempfile.mkdtemp(prefix=".files-", dir=self._folder))
        try:
            process = self._started(files)
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError), process.stdin as orders:
                pickle.dump(wishes, orders)
            with process.stdout as answers:
                for line in answers:
                    self._take(json.loads(line), by_kind)
            code = process.wait()
            if code and not self._closing:
                raise RuntimeError(f"the compiling process ended with {code}")
        finally:
            self._end_process()
            shutil.rmtree(files, ignore_errors=True)

    def _started(self, files: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "worker.engine.compiled.making", str(os.getpid())]
        once = {"TORCHINDUCTOR_CACHE_DIR": str(files), "TMPDIR": str(files), "OMP_NUM_THREADS": "1"}
        once |= environment(self.device, files)
        with self._changed:
            if self._closing:
                raise RuntimeError("the worker ends")
            self._process = subprocess.Popen(
                [*command, str(self._folder), str(files), str(self._niceness), str(self.device)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | once,
                start_new_session=True,  # its compilers end with it
            )
            return self._process

    def _take(self, answer: dict[str, Any], by_kind: dict[str, Wanted]) -> None:
        wanted = by_kind[answer["kind"]]
        wanted.seconds = answer.get("seconds", 0.0)
        if "reason" in answer:
            logger.warning("block not compiled", kind=answer["kind"], reason=answer["reason"])
            return
        try:
            self._use(wanted, self._shelf.find(wanted.kind))
        except (Broken, CannotLoad) as error:
            self.give_up(wanted, error)

    def _end_process(self) -> None:
        with self._changed:
            process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
