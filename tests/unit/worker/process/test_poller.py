"""The poller: an idle worker finds work that no hint has told of."""

from types import SimpleNamespace

from shared.ledger.store import MustRunAlone
from worker.job.probe import NoProbe
from worker.process.poller import Poller


class Scene:
    """A poller on a queue that the test fills, for a worker that the test keeps busy."""

    def __init__(self) -> None:
        self.queue, self.idle = 0, True
        self.runs, self.reconnections = 0, 0
        self.must_wait, self.consuming = False, True
        runner = SimpleNamespace(
            waiting=lambda: self.queue,
            probe=NoProbe(),
            run_next=self._run,
        )
        self.poller = Poller(
            runner,  # type: ignore[arg-type]
            lambda: self.idle,
            lambda: self.consuming,
            self._reconnect,
        )

    def _run(self) -> bool:
        if self.must_wait:
            raise MustRunAlone
        self.runs += 1
        return True

    def _reconnect(self) -> None:
        self.reconnections += 1


def test_work_that_waits_at_two_looks_is_taken_and_the_consumer_connects_anew() -> None:
    scene = Scene()
    scene.queue = 1
    scene.poller.look()
    assert scene.runs == 0
    scene.poller.look()
    assert (scene.runs, scene.reconnections) == (1, 1)


def test_while_the_consumer_is_still_starting_work_is_taken_at_the_first_look() -> None:
    scene = Scene()
    scene.queue, scene.consuming = 1, False
    scene.poller.look()
    assert (scene.runs, scene.reconnections) == (1, 0)


def test_a_busy_worker_and_an_empty_queue_start_the_count_again() -> None:
    scene = Scene()
    for queue, idle in ((1, True), (0, True), (1, True), (1, False), (1, True)):
        scene.queue, scene.idle = queue, idle
        scene.poller.look()
    assert scene.runs == 0


def test_a_job_that_has_to_wait_is_left_alone() -> None:
    scene = Scene()
    scene.queue, scene.must_wait = 1, True
    scene.poller.look()
    scene.poller.look()
    assert scene.runs == 0
