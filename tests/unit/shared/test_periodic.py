"""Loops go on after any exception, and a loop that cannot ends its process."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from shared.blobs import open_blobs
from shared.errors import StoreUnavailable
from shared.ledger.queue import Hints, make_celery
from shared.ledger.reaper import Reaper
from shared.ledger.store import JobStore
from shared.loras.watcher import FolderWatcher
from shared.periodic import EXIT_CODE, Periodic, loop_failures, run_periodically
from shared.settings import Settings
from tests.support.wait import wait_until
from worker.job.leases import LeasedStop, LeaseKeeper
from worker.job.pulse import Pulse
from worker.process.devices import DeviceKeeper, HeldDevice
from worker.process.heartbeat import Heartbeat
from worker.process.poller import Poller
from worker.process.watchdog import Watchdog

ERRORS = [
    StoreUnavailable("away"),
    ResponseError("NOREPLICAS Not enough good replicas to write."),
    PermissionError("a sweep"),
    RuntimeError("dictionary changed size during iteration"),
    KeyError("nobody foresaw this"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_round_that_fails_is_counted_and_the_next_one_comes(error: Exception) -> None:
    rounds: list[int] = []

    def work() -> None:
        rounds.append(1)
        if len(rounds) < 3:
            raise type(error)(*error.args)

    before = loop_failures().get("test", 0)
    loop = Periodic("test", work, 0.01)
    loop.start()
    wait_until(lambda: len(rounds) > 3, description="rounds after the failed ones")
    loop.stop()
    assert not loop.is_alive
    assert loop_failures()["test"] == before + 2


def test_a_round_says_when_the_next_one_is_due() -> None:
    rounds: list[int] = []

    def work() -> float:
        rounds.append(1)
        return 0.0 if len(rounds) < 5 else 60.0

    loop = Periodic("test", work, every=60.0)
    loop.start(at_once=True)
    wait_until(lambda: len(rounds) == 5, description="five rounds without a pause")
    loop.stop()
    assert len(rounds) == 5


def test_a_task_goes_on_after_a_failed_round_and_ends_when_canceled() -> None:
    rounds: list[int] = []

    async def work() -> None:
        rounds.append(1)
        raise KeyError("nobody foresaw this")

    async def run() -> None:
        task = asyncio.create_task(run_periodically("test", work, 0.001))
        while len(rounds) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    asyncio.run(run())


@pytest.mark.parametrize(
    "start",
    [
        "Periodic('test', work, 0.01).start(); time.sleep(30)",
        "asyncio.run(run_periodically('test', later, 0.01))",
    ],
)
def test_a_loop_that_cannot_go_on_ends_the_process_loudly(start: str) -> None:
    program = f"""
import asyncio, time
from shared.periodic import Periodic, run_periodically

def work():
    raise SystemExit("out of everything")

async def later():
    work()

{start}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == EXIT_CODE
    assert "cannot continue" in done.stdout + done.stderr
    assert "out of everything" in done.stdout + done.stderr


# --- every loop of the service is one


class Failing:
    """Counts the calls of anything, and each of them fails."""

    def __init__(self, error: Exception) -> None:
        self.calls = 0
        self._error = error

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        raise type(self._error)(*self._error.args)  # a new one: tracebacks grow

    def __getattr__(self, _name: str) -> "Failing":
        return self


def _reaper(failing: Failing, settings: Settings) -> Reaper:
    hints = Hints(make_celery(settings, "tiny"), "tiny")
    store: Any = SimpleNamespace(elect=failing)
    return Reaper(store, hints, open_blobs(settings), settings)


def _leases(failing: Failing, settings: Settings) -> LeaseKeeper:
    del settings
    keeper = LeaseKeeper(failing, 0.01, 60.0)  # type: ignore[arg-type]
    keeper._claims["job"] = LeasedStop(failing, 60.0)
    return keeper


def _watchdog(failing: Failing, settings: Settings) -> Watchdog:
    del settings
    return Watchdog(
        Pulse(), step_seconds=1, idle_seconds=1, is_idle=failing, queued=failing, end=failing
    )


def _device(failing: Failing, settings: Settings) -> DeviceKeeper:
    del settings
    return DeviceKeeper(HeldDevice("cuda:0", "gpu", failing), failing)  # type: ignore[arg-type]


LOOPS: list[Callable[[Failing, Settings], Any]] = [
    _reaper,
    _leases,
    _watchdog,
    _device,
    lambda failing, _: Heartbeat(failing, failing),  # type: ignore[arg-type]
    lambda failing, _: Poller(failing, failing, failing, failing),  # type: ignore[arg-type]
    lambda failing, settings: FolderWatcher(settings.data_dir / "none", failing),
]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "shared.ledger.reaper.TICK_SECONDS",
        "shared.periodic.PAUSE_SECONDS",
        "shared.loras.watcher._MISSING_SECONDS",
        "worker.job.leases.RETRY_SECONDS",
        "worker.process.devices.RENEW_SECONDS",
        "worker.process.heartbeat.HEARTBEAT_SECONDS",
        "worker.process.poller.LOOK_SECONDS",
        "worker.process.watchdog.LOOK_SECONDS",
    ):
        monkeypatch.setattr(name, 0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("make", LOOPS)
@pytest.mark.parametrize("error", ERRORS[1:], ids=lambda error: type(error).__name__)
def test_no_loop_of_the_service_ends_by_an_exception(
    make: Callable[[Failing, Settings], Any], error: Exception, settings: Settings
) -> None:
    failing = Failing(error)
    loop = make(failing, settings)
    loop.start()
    try:
        wait_until(lambda: failing.calls >= 3, description="three failed rounds")
        assert loop._loop.is_alive
    finally:
        loop._loop.stop()


def test_a_reaper_whose_sweep_may_not_delete_goes_on(
    store: JobStore, settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.ledger.reaper.SWEEP_SECONDS", 0.0)
    monkeypatch.setattr("shared.ledger.reaper.TICK_SECONDS", 0.02)
    blobs, sweeps = open_blobs(settings), Failing(PermissionError("read-only"))
    monkeypatch.setattr(blobs, "sweep", sweeps)
    reaper = Reaper(store, Hints(make_celery(settings, "tiny"), "tiny"), blobs, settings)
    reaper.start()
    wait_until(lambda: sweeps.calls >= 2, description="another sweep")
    reaper.stop()
    redis_client.delete("elected:reaper")
