"""Workers that are frozen past their lease, hang, or go deaf; and jobs that outlive many leases."""

import signal
import time

import psutil

from shared.jobs import JobSpec, JobState
from tests.chaos.conftest import MakeRig
from tests.chaos.figures import keep, size
from tests.chaos.rig import Rig
from tests.chaos.test_kills import holder
from tests.support.wait import wait_until

SHORT_LEASE = {"lease_seconds": 2, "renew_seconds": 0.5, "hint_seconds": 1}


def steps_of(rig: Rig, spec: JobSpec, pid: int, after: float) -> int:
    """Steps of a job that a process has begun after a moment, without a new claim: on a busy
    machine the second worker may lose the job, too, and the first one get it again.
    """
    claims = rig.history.lines("claimed", job=spec.id, pid=pid)
    until = min([line["t"] for line in claims if line["t"] > after], default=float("inf"))
    lines = rig.history.lines("step", seed=spec.params.seed, pid=pid)
    return sum(after < line["t"] < until for line in lines)


def frozen_in_a_job(rig: Rig) -> tuple[JobSpec, psutil.Process]:
    """A job, and the engine process that is frozen in the middle of it. On a busy machine a job may
    end before the signal comes: then another is taken.
    """
    while True:
        spec = rig.submit(steps=20)
        rig.wait_for_step(spec, 3)
        engine = holder(rig, spec).engine()
        assert engine is not None
        engine.send_signal(signal.SIGSTOP)
        if not rig.history.lines("encoded", job=spec.id):
            return spec, engine
        engine.send_signal(signal.SIGCONT)


def test_g5_a_zombie_commits_nothing_and_stops_within_a_step(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.05, **SHORT_LEASE)
    rig.start_workers(2)
    refused, further = 0, list[int]()
    for _ in range(size(100, 10)):
        # Given a worker that is frozen in the middle of a job
        spec, engine = frozen_in_a_job(rig)
        # When another has taken the job, and the first one wakes up
        wait_until(
            lambda spec=spec: rig.history.lines("claimed", job=spec.id, epoch=2),  # type: ignore[misc]
            description="the second claim",
            seconds=60,
        )
        woken_at = time.monotonic()
        engine.send_signal(signal.SIGCONT)
        # Then it stops, and the second one's result stands
        wait_until(
            lambda spec=spec: rig.history.lines("lost", job=spec.id, epoch=1),  # type: ignore[misc]
            description="the zombie to give up",
            seconds=60,
        )
        rig.assert_all(rig.wait_for_end([spec], 60))
        further.append(steps_of(rig, spec, engine.pid, woken_at))
        refused += not rig.history.lines("committed", job=spec.id, epoch=1)
    rig.settle()
    rig.check()
    keep("g5", zombies=len(further), refused=refused, further_steps=max(further))
    assert refused == len(further)
    assert max(further) <= 1


def test_g5_a_zombie_that_wakes_up_at_its_commit_is_refused(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, **SHORT_LEASE)
    rig.start_workers(2)
    for _ in range(size(20, 2)):
        rig.history.arm("stored", "freeze")
        spec = rig.submit()
        rig.assert_all(rig.wait_for_end([spec], 60))
        for worker in rig.workers:
            worker.signal_engine(signal.SIGCONT)
        wait_until(
            lambda spec=spec: rig.history.lines("lost", job=spec.id, epoch=1),  # type: ignore[misc]
            description="the zombie's commit to be refused",
            seconds=60,
        )
    rig.settle()
    rig.check()


def test_g10_long_jobs_are_started_once_even_with_a_stalling_interpreter(make_rig: MakeRig) -> None:
    # Given jobs of twelve leases, one of which stalls its whole process for two seconds at a step
    rig = make_rig(fake_step_seconds=0.3, lease_seconds=3, renew_seconds=0.5, hint_seconds=1)
    count = size(10, 1)
    rig.start_workers(min(6, 2 * count), admission_window=1)
    calm = [rig.submit(steps=50, prompt="fault:slow=0.45@every-1") for _ in range(count)]
    stalled = [rig.submit(steps=50, prompt="fault:stall=2@every-4") for _ in range(count)]
    # When
    specs = calm + stalled
    jobs = rig.wait_for_end(specs, seconds=240 * count)
    # Then
    rig.settle()
    rig.assert_all(jobs)
    rig.check()
    starts = [len(rig.history.lines("claimed", job=spec.id)) for spec in specs]
    leases = [job.timings.denoising_seconds / 3 for job in jobs]
    keep(
        "g10",
        jobs=len(jobs),
        longest_job_leases=round(max(leases), 1),
        starts_of_each=sorted(set(starts)),
    )
    assert set(starts) == {1}
    assert max(leases) >= 12


def test_a_hung_step_ends_the_process_and_the_job_is_done_by_the_next(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, step_timeout_seconds=2)
    rig.start_worker()
    rig.history.arm("step-2", "hang")
    spec = rig.submit()
    began = time.monotonic()
    rig.assert_all(rig.wait_for_end([spec], 60))
    keep("hung_step", limit_seconds=2, seconds=round(time.monotonic() - began, 2))
    assert len(rig.history.lines("claimed", job=spec.id)) == 2
    rig.settle()
    rig.check()


def test_a_job_that_hangs_every_time_fails_after_three_attempts(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, step_timeout_seconds=1, max_crashes=3)
    rig.start_worker()
    spec, good = rig.submit(prompt="fault:hang@2"), rig.submit()
    (job,) = rig.wait_for_end([spec], 90)
    assert job.failure is not None
    assert job.failure.code == "step_timeout"
    rig.assert_all(rig.wait_for_end([good], 60))
    rig.settle()
    rig.check()


def test_a_deaf_worker_ends_and_its_successor_takes_the_queue(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02, idle_timeout_seconds=2, hint_seconds=1)
    rig.start_worker(admission_window=1)
    # Given a worker whose only thread for hints hangs before it can claim, and its poller too
    rig.history.arm("hinted", "hang")
    rig.history.arm("looked", "hang")
    spec = rig.submit()
    # Then
    rig.assert_all(rig.wait_for_end([spec], 60))
    rig.settle()
    rig.check()


def test_a_lost_device_ends_the_process_and_not_the_job(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    rig.start_worker()
    rig.history.arm("step-2", "device_lost")
    spec = rig.submit()
    rig.assert_all(rig.wait_for_end([spec], 60))
    assert len(rig.history.lines("claimed", job=spec.id)) == 2
    rig.settle()
    rig.check()


def test_jobs_wait_their_turn_without_being_blamed_for_their_neighbour(make_rig: MakeRig) -> None:
    # Given poison right beside good jobs, in one worker that takes two at a time
    rig = make_rig(fake_step_seconds=0.05, max_crashes=2)
    specs = [rig.submit(), rig.submit(prompt="fault:kill@2"), rig.submit(), rig.submit()]
    rig.start_worker()
    jobs = {job.id: job for job in rig.wait_for_end(specs, 60)}
    # Then only the poison fails
    assert jobs.pop(specs[1].id).state is JobState.FAILED
    rig.assert_all(list(jobs.values()))
    rig.settle()
    rig.check()
