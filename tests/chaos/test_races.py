"""Cancel against finish, and workers that are stopped in good order while others work."""

import signal
import threading
import time

from shared.jobs import JobSpec, JobState
from tests.chaos.conftest import MakeRig
from tests.chaos.figures import keep, size, spread, within
from tests.chaos.load import Load
from tests.chaos.rig import Rig
from tests.chaos.test_kills import POINTS
from tests.support.wait import wait_until

STEP_SECONDS = 0.05


def race(rig: Rig, spec: JobSpec, delay: float) -> None:
    """Cancel a job some time after its submission; note whether that was acknowledged."""
    time.sleep(delay)
    state = rig.store.cancel(spec.id)
    acknowledged = state in (JobState.CANCELED, JobState.RUNNING)
    rig.history.note("cancel", job=spec.id, acknowledged=acknowledged, seed=spec.params.seed)


def late_steps(rig: Rig) -> list[int]:
    """Steps that each canceled job began after its cancel was acknowledged."""
    counts = []
    for cancel in rig.history.lines("cancel", acknowledged=True):
        steps = rig.history.lines("step", seed=cancel["seed"])
        counts.append(sum(step["t"] > cancel["t"] for step in steps))
    return counts


def results_after_cancel(rig: Rig) -> int:
    """Jobs that have a result although their cancel was acknowledged."""
    canceled = rig.history.lines("cancel", acknowledged=True)
    return sum(rig.store.get(line["job"]).result is not None for line in canceled)


def test_g11_a_cancel_and_a_finish_never_both_win(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=STEP_SECONDS)
    rig.start_workers(2)
    specs: list[JobSpec] = []
    for _ in range(size(250, 25)):
        # Given four jobs of some 0.2 s, in two workers, canceled around their end
        batch = [rig.submit() for _ in range(4)]
        delays = [rig.random.uniform(0.0, 0.5) for _ in batch]
        racers = [
            threading.Thread(target=race, args=(rig, spec, delay))
            for spec, delay in zip(batch, delays, strict=True)
        ]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        rig.wait_for_end(batch, 60)
        specs += batch
    # Then
    rig.settle()
    rig.check()
    states = [rig.state(spec.id) for spec in specs]
    keep(
        "g11",
        races=len(specs),
        canceled=states.count(JobState.CANCELED),
        succeeded=states.count(JobState.SUCCEEDED),
        results_after_cancel=results_after_cancel(rig),
        late_steps=spread(late_steps(rig)),
    )
    assert set(states) == {JobState.CANCELED, JobState.SUCCEEDED}
    # The report that brings the news of a cancel travels while the next step begins.
    assert max(late_steps(rig)) <= within(2)


def repeated_steps(rig: Rig) -> int:
    """Steps that were executed to their end more than once."""
    done = [(line["seed"], line["step"]) for line in rig.history.lines("step_done")]
    return len(done) - len(set(done))


def test_g12_rolling_restarts_lose_nothing_and_do_nothing_twice(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.03, grace_seconds=20)
    rig.start_workers(2)
    seconds = []
    with Load(rig, 0.15, steps=5) as load:
        for number in range(size(200, 10)):
            old = rig.workers[number % 2]
            time.sleep(0.3 * rig.random.random())
            began = time.monotonic()
            old.process.send_signal(signal.SIGTERM if number % 3 else signal.SIGINT)
            assert old.process.wait(timeout=60) == 0
            seconds.append(time.monotonic() - began)
            rig.workers[number % 2] = rig.start_worker()
            rig.workers.pop()
    jobs = rig.wait_for_end(load.specs, 120)
    rig.settle()
    rig.check()
    again = [line for line in rig.history.lines("claimed") if line["attempt"] > 1]
    keep(
        "g12",
        restarts=len(seconds),
        **rig.tally(load.specs),
        repeated_steps=repeated_steps(rig),
        second_attempts=len(again),
        stop_seconds=spread(seconds),
    )
    rig.assert_all(jobs)
    assert repeated_steps(rig) == 0
    assert again == []


def test_sigterm_at_any_stage_of_a_job_lets_it_end_within_the_grace(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, grace_seconds=20)
    specs = []
    for point in POINTS:
        worker = rig.start_worker()
        rig.history.arm(point, "terminate")
        specs.append(rig.submit())
        assert worker.process.wait(timeout=60) == 0
        assert rig.state(specs[-1].id) is JobState.SUCCEEDED, point
    rig.check()
    assert repeated_steps(rig) == 0
    assert [len(rig.history.lines("claimed", job=spec.id)) for spec in specs] == [1] * len(specs)


def test_sigterm_at_any_stage_without_grace_gives_the_job_back_uncounted(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(fake_step_seconds=0.1, grace_seconds=0)
    specs = []
    for point in POINTS:
        worker = rig.start_worker()
        rig.history.arm(point, "terminate")
        specs.append(rig.submit())
        # Killed by its own supervisor where this machine is too busy for it to leave in time.
        assert worker.process.wait(timeout=60) in (0, 1)
        assert rig.state(specs[-1].id) in (JobState.QUEUED, JobState.SUCCEEDED), point
    rig.start_worker()
    jobs = rig.wait_for_end(specs, 60)
    rig.settle()
    rig.assert_all(jobs)
    rig.check()
    assert {job.attempt for job in jobs} == {1}


def test_what_does_not_fit_the_grace_is_given_back_without_being_counted(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(fake_step_seconds=0.05, grace_seconds=0.5)
    worker = rig.start_worker()
    spec = rig.submit(steps=40)
    rig.wait_for_step(spec, 2)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=30) in (0, 1)
    job = rig.store.get(spec.id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    rig.start_worker()
    rig.assert_all(rig.wait_for_end([spec], 60))
    rig.settle()
    rig.check()


def test_a_second_signal_ends_the_grace(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.1, grace_seconds=60)
    worker = rig.start_worker()
    spec = rig.submit(steps=50)
    rig.wait_for_step(spec, 2)
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=30) == 0
    assert time.monotonic() - began < within(5)
    assert rig.store.get(spec.id).attempt == 0


def test_a_worker_can_be_stopped_at_every_stage_of_its_start(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    spec = rig.submit()
    for tenths in range(size(40, 8)):
        worker = rig.start_worker(wait=False)
        time.sleep(tenths / 5)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(timeout=30) in (0, -signal.SIGTERM)
        assert worker.engine() is None
    wait_until(lambda: not rig.fleet.workers(), description="no worker to be left", seconds=15)
    rig.start_worker()
    rig.assert_all(rig.wait_for_end([spec], 60))
    rig.settle()
    rig.check()


def test_a_worker_that_starts_before_its_store_waits_for_it(make_rig: MakeRig) -> None:
    # Given
    rig = make_rig(fake_step_seconds=0.02)
    rig.server.kill()
    worker = rig.start_worker(wait=False)
    log = rig.folder / "workers.log"
    wait_until(
        lambda: "waiting for the store" in log.read_text(),
        description="the worker to say what it waits for",
        seconds=30,
    )
    # When
    back_at = rig.server.start()
    # Then
    rig.wait_ready(worker)
    assert time.monotonic() - back_at < within(10)
    rig.assert_all(rig.wait_for_end([rig.submit()], 30))
