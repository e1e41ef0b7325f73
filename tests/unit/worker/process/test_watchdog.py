"""The watchdog: which silence means a hung step, and which idleness a deaf worker."""

import pytest

from shared.errors import StoreUnavailable
from worker.engine.base.device_lost import DeviceLost, WeightsChanged
from worker.job.pulse import Pulse
from worker.process.exits import DEVICE_LOST, HUNG, WEIGHTS_CHANGED
from worker.process.watchdog import Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A watchdog on a clock that the test moves, with limits of 60 and 30 seconds."""

    def __init__(self) -> None:
        self.clock, self.ends = Clock(), list[int]()
        self.idle, self.queue = True, 0
        self.pulse = Pulse(self.clock)
        self.watchdog = Watchdog(
            self.pulse,
            step_seconds=60,
            idle_seconds=30,
            is_idle=lambda: self.idle,
            queued=self._queued,
            complaint=lambda: self.complaint,
            end=self.ends.append,
            clock=self.clock,
        )
        self.store_is_away = False
        self.complaint: DeviceLost | None = None

    def _queued(self) -> int:
        if self.store_is_away:
            raise StoreUnavailable("away")
        return self.queue

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.watchdog.look()


def test_a_step_that_is_silent_for_longer_than_its_limit_ends_the_process() -> None:
    scene = Scene()
    scene.idle = False
    with scene.pulse.expected():
        scene.pass_time(59)
        assert scene.ends == []
        scene.pass_time(2)
    assert scene.ends == [HUNG]


@pytest.mark.parametrize(
    ("complaint", "code"),
    [(WeightsChanged("unet.x"), WEIGHTS_CHANGED), (DeviceLost("the engine failed"), DEVICE_LOST)],
)
def test_an_engine_that_complains_ends_the_process(complaint: DeviceLost, code: int) -> None:
    scene = Scene()
    scene.pass_time(1)
    assert scene.ends == []
    scene.complaint = complaint
    scene.pass_time(1)
    assert scene.ends == [code]


def test_silence_without_work_means_nothing() -> None:
    scene = Scene()
    scene.pass_time(1000)
    with scene.pulse.expected():
        scene.pass_time(1)
    assert scene.ends == []


def test_steps_that_usually_take_long_may_take_ten_times_as_long() -> None:
    scene = Scene()
    scene.idle = False
    with scene.pulse.expected():
        for _ in range(20):
            scene.pass_time(20)
            scene.pulse.beat()
        scene.pass_time(190)
        assert scene.ends == []
        scene.pass_time(20)
    assert scene.ends == [HUNG]


def test_an_idle_worker_beside_a_queue_ends_after_its_limit() -> None:
    scene = Scene()
    scene.queue = 3
    scene.pass_time(29)
    assert scene.ends == []
    scene.pass_time(2)
    assert scene.ends == [HUNG]


def test_a_claim_an_empty_queue_or_a_store_that_is_away_starts_the_time_again() -> None:
    scene = Scene()
    scene.queue = 3
    for pause in ("busy", "empty", "away"):
        scene.pass_time(25)
        scene.idle, scene.queue, scene.store_is_away = (
            pause != "busy",
            0 if pause == "empty" else 3,
            pause == "away",
        )
        scene.pass_time(1)
        scene.idle, scene.queue, scene.store_is_away = True, 3, False
    scene.pass_time(25)
    assert scene.ends == []
