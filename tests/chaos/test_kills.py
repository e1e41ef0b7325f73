"""Workers that are killed: at named points, at random, with their supervisor, by their own job.

G1 and G2 run with two bases: a killed worker's job goes only to a worker of the same one.
"""

import signal
import time

from shared.jobs import JobSpec, JobState
from tests.chaos.conftest import MakeRig
from tests.chaos.figures import keep, size, spread, within
from tests.chaos.rig import Rig, Worker
from tests.support.wait import wait_until

POINTS = ("claimed", "started", "step-1", "step-3", "encoded", "stored", "committed", "ended")


def kill_at(rig: Rig, point: str) -> list[JobSpec]:
    """Kill whichever worker reaches `point` next; jobs are submitted until one has."""
    rig.history.arm(point, "kill")
    specs: list[JobSpec] = []

    def struck() -> bool:
        if not rig.history.is_armed(point):
            return True
        specs.append(rig.submit(hint=rig.random.random() > 0.1))
        time.sleep(0.15)
        return False

    wait_until(struck, description=f"a worker to reach {point}", seconds=60)
    return specs


def kill_at_random(rig: Rig) -> list[JobSpec]:
    """Kill some worker's engine process at some moment, under load."""
    specs = [rig.submit(hint=rig.random.random() > 0.1) for _ in range(4)]
    time.sleep(rig.random.random() * 0.4)
    wait_until(
        lambda: rig.random.choice(rig.workers).signal_engine(signal.SIGKILL),
        description="an engine process to kill",
        seconds=60,
    )
    return specs


def test_g1_kills_at_named_points_and_at_random_lose_nothing(make_rig: MakeRig) -> None:
    # Given
    rig = make_rig(fake_step_seconds=0.01)
    rig.start_workers(2, base=rig.add_base("other"))
    rig.start_workers(2)
    kills, specs, began = size(500, 60), list[JobSpec](), time.monotonic()
    # When
    for number in range(kills):
        point = POINTS[(number // 2) % len(POINTS)]
        specs += kill_at_random(rig) if number % 2 else kill_at(rig, point)
    while len(specs) < size(2000, 300):
        specs.append(rig.submit())
    # Then
    jobs = rig.wait_for_end(specs, seconds=180)
    rig.settle()
    rig.assert_all(jobs)
    rig.assert_on_own_bases(specs)
    rig.check()
    keep(
        "g1",
        bases=len(rig.base_folders),
        kills=kills,
        **rig.tally(specs),
        attempts=len(rig.history.lines("claimed")),
        seconds=round(time.monotonic() - began, 1),
    )


def moment_of_reclaim(rig: Rig, spec: JobSpec, epoch: int) -> float:
    """When the job was claimed for the `epoch`-th time."""
    line = wait_until(
        lambda: rig.history.lines("claimed", job=spec.id, epoch=epoch),
        description=f"claim {epoch} of {spec.id}",
        seconds=60,
        every=0.01,
    )[0]
    return float(line["t"])


def holder(rig: Rig, spec: JobSpec) -> Worker:
    owner = rig.store.get(spec.id).worker
    assert owner is not None
    return next(worker for worker in rig.workers if worker.owns(owner))


def test_g2_a_dead_childs_job_is_claimed_by_another_worker_at_once(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    rig.start_workers(2, base=rig.add_base("other"))
    rig.start_workers(2)
    seconds, others, specs = list[float](), 0, list[JobSpec]()
    for _ in range(size(200, 20)):
        # Given a job in its third step
        spec = rig.submit(steps=30)
        specs.append(spec)
        rig.wait_for_step(spec, 3)
        victim = holder(rig, spec)
        # When
        killed_at = time.monotonic()
        assert victim.signal_engine(signal.SIGKILL)
        # Then
        seconds.append(moment_of_reclaim(rig, spec, 2) - killed_at)
        rig.assert_all(rig.wait_for_end([spec], 60))
        others += holder(rig, spec) is not victim
        rig.wait_ready(victim)
    rig.settle()
    rig.assert_on_own_bases(specs)
    rig.check()
    keep("g2", kills=len(seconds), claimed_by_another=others, seconds=spread(seconds))
    assert spread(seconds)["p99"] <= within(2)
    assert max(seconds) <= within(5)


def test_g3_a_killed_process_tree_costs_its_lease_and_no_more(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.05)
    rig.start_workers(2)
    seconds = []
    for _ in range(size(30, 4)):
        spec = rig.submit(steps=20)
        rig.wait_for_step(spec, 3)
        victim = holder(rig, spec)
        killed_at = time.monotonic()
        victim.kill_tree()
        seconds.append(moment_of_reclaim(rig, spec, 2) - killed_at)
        rig.assert_all(rig.wait_for_end([spec], 60))
        rig.workers.remove(victim)
        rig.start_worker()
    rig.settle()
    rig.check()
    keep("g3", kills=len(seconds), seconds=spread(seconds))
    assert max(seconds) <= within(12)


def test_g4_hints_that_a_frozen_worker_swallowed_lose_no_job(make_rig: MakeRig) -> None:
    rig = make_rig(fake_step_seconds=0.01)
    rig.start_workers(3)
    seconds, probes = list[float](), 0
    while probes < size(200, 20):
        # Given idle workers that are frozen
        for worker in rig.workers:
            rig.wait_ready(worker)
            assert worker.signal_engine(signal.SIGSTOP)
        # When jobs are published, their hints go to the frozen, and these are killed
        published_at = time.monotonic()
        specs = [rig.submit() for _ in range(4)]
        probes += len(specs)
        for worker in rig.workers:
            assert worker.signal_engine(signal.SIGKILL)
        # Then
        rig.wait_for_end(specs, seconds=60)
        for spec in specs:
            # The ledger has it a moment before the worker writes it down.
            done = wait_until(
                lambda spec=spec: rig.history.lines("committed", job=spec.id),  # type: ignore[misc]
                description="the commit's line",
            )
            seconds.append(done[0]["t"] - published_at)
    rig.settle()
    rig.check()
    keep("g4", probes=probes, complete=len(seconds), seconds=spread(seconds))
    assert max(seconds) <= within(15)


def test_g9_poison_runs_three_times_and_harms_nobody(make_rig: MakeRig) -> None:
    # Given
    rig = make_rig(fake_step_seconds=0.01, max_crashes=3)
    rig.start_workers(2)
    poison, good = list[JobSpec](), list[JobSpec]()
    began = time.monotonic()
    # When
    for number in range(size(500, 50)):
        good.append(rig.submit())
        if number % 10 == 5:
            poison.append(rig.submit(prompt="fault:kill@2"))
    good_jobs = rig.wait_for_end(good, seconds=300)
    poison_jobs = rig.wait_for_end(poison, seconds=300)
    # Then
    rig.settle()
    rig.assert_all(good_jobs)
    rig.assert_all(poison_jobs, JobState.FAILED)
    rig.check()
    codes = {job.failure.code for job in poison_jobs if job.failure}
    runs = [len(rig.history.lines("claimed", job=spec.id)) for spec in poison]
    keep(
        "g9",
        poison=len(poison),
        runs_of_each=sorted(set(runs)),
        good=len(good),
        good_done=len(good_jobs),
        seconds=round(time.monotonic() - began, 1),
    )
    assert codes == {"crashed_too_often"}
    assert set(runs) == {3}
