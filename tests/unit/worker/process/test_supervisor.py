"""The supervisor, with small programs in place of the engine."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shared.settings import Settings
from tests.support.wait import wait_until
from tests.support.workers import REPOSITORY

SUPERVISE = """
import sys
from pathlib import Path
from shared.settings import load_settings
from worker.process.supervisor import Supervisor

class ChildReaper:
    def prepare(self): pass
    def reap(self, worker_id, status, blame):
        with Path(sys.argv[1]).open("a") as file:
            file.write(f"{worker_id} {status} {blame}\\n")
    def give_back_device(self, holder): pass

settings = load_settings(_env_file=None)
command = [sys.executable, "-c", sys.argv[2]]
sys.exit(Supervisor(settings, ChildReaper, command).run())
"""
SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(600)"


class Supervised:
    def __init__(self, folder: Path, program: str, **settings: str) -> None:
        self.buried, self._said = folder / "buried", folder / "said"
        self.buried.touch()
        values = {f"RETOUCH_{name.upper()}": value for name, value in settings.items()}
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE, str(self.buried), program],
                cwd=REPOSITORY,
                env={**os.environ, **values},
                stdout=said,
            )

    def pauses(self) -> list[float]:
        """Seconds that it has said it would wait before each restart."""
        return [
            float(text)
            for text in re.findall(r"restart_in_seconds\S*?([\d.]+)", self._said.read_text())
        ]

    def child(self) -> psutil.Process:
        def found() -> psutil.Process | None:
            children = psutil.Process(self.process.pid).children()
            return children[0] if children else None

        child = wait_until(found, description="the child", seconds=20)
        assert child is not None
        return child

    def burials(self) -> list[str]:
        return [line.split()[1] for line in self.buried.read_text().splitlines()]


@pytest.fixture
def supervise(tmp_path: Path) -> "Callable[..., Supervised]":
    return lambda program, **settings: Supervised(tmp_path, program, **settings)


def test_a_child_that_ends_is_buried_and_replaced(supervise: Callable[..., Supervised]) -> None:
    running = supervise(SLEEPER, restart_seconds="0.05")
    first = running.child()
    first.kill()
    wait_until(running.burials, description="the burial")
    second = running.child()
    assert second.pid != first.pid
    assert running.burials() == [str(-signal.SIGKILL)]
    running.process.terminate()
    assert running.process.wait(20) == 0
    assert not second.is_running()
    # And only of the first its jobs may have been the cause
    assert [line.split()[2] for line in running.buried.read_text().splitlines()] == [
        "True",
        "False",
    ]


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_the_engines_threads_wait_without_spinning_unless_told_otherwise(
    supervise: Callable[..., Supervised],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    running = supervise(SLEEPER)
    child = running.child()
    # Between its fork and its exec it has the supervisor's own.
    wait_until(
        lambda: child.environ().get("OMP_WAIT_POLICY") == expected, description="the child's policy"
    )
    running.process.terminate()
    assert running.process.wait(20) == 0


def test_pauses_between_restarts_grow_to_their_limit(supervise: Callable[..., Supervised]) -> None:
    running = supervise("raise SystemExit(70)", restart_seconds="0.05", restart_max_seconds="0.2")
    wait_until(lambda: len(running.pauses()) >= 4, description="four restarts", seconds=60)
    running.process.terminate()
    assert running.process.wait(20) == 0
    assert running.pauses()[:4] == [0.05, 0.1, 0.2, 0.2]
    assert set(running.burials()) <= {"70", str(-signal.SIGTERM)}


def test_an_engine_that_cannot_start_at_all_ends_the_worker(
    supervise: Callable[..., Supervised],
) -> None:
    assert supervise("raise SystemExit(78)").process.wait(20) == 78


def test_a_child_that_ignores_the_grace_is_killed(supervise: Callable[..., Supervised]) -> None:
    running = supervise(STUBBORN, grace_seconds="0")
    child = running.child()
    time.sleep(0.5)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 1
    assert not child.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_an_engine_does_not_outlive_its_supervisor(
    make_settings: Callable[..., Settings], tmp_path: Path, base_folder: Path
) -> None:
    # Given the real engine process, waiting for a store that is not there
    del make_settings
    process = subprocess.Popen(
        [sys.executable, "-m", "worker"],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "RETOUCH_REDIS_URL": "redis://127.0.0.1:1/0",
            "RETOUCH_ENGINE": "fake",
            "RETOUCH_GUARDS": "off",
            "RETOUCH_BASE_MODEL": str(base_folder),
            "RETOUCH_DATA_DIR": str(tmp_path / "data"),
        },
    )
    supervisor = psutil.Process(process.pid)
    wait_until(supervisor.children, description="the engine process", seconds=20)
    (child,) = supervisor.children()
    time.sleep(1)
    # When
    process.kill()
    process.wait()
    # Then
    wait_until(lambda: not child.is_running(), description="the engine to be gone", seconds=10)


def test_the_supervisor_stays_free_of_torch() -> None:
    program = "import sys, worker.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY).returncode == 0
