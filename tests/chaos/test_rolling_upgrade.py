"""Two versions of gateway and worker on one store, while one takes the other's place and back.

The next version writes every record with a field more, and jobs that only it can do.
"""

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256

from retouch import Client
from shared.jobs import RECORDS_VERSION, JobSpec, JobState
from tests.chaos.conftest import MakeRig
from tests.chaos.figures import keep, size
from tests.chaos.rig import Rig, Worker
from tests.support import next_version
from tests.support.wait import wait_until
from tests.support.workers import picture

FIELDS = {"lora": "none", "steps": "6", "strength": "1", "force": "true"}
# In the size and without the losses that the check of the fake engine's pictures expects.
FIELDS |= {"upscale": "1", "format": "png"}
PROGRAMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "this": {"worker": ("worker",), "api": ("api",)},
    "next": {"worker": (next_version.MODULE, "worker"), "api": (next_version.MODULE, "api")},
}


def start_worker(rig: Rig, version: str, **settings: object) -> Worker:
    """A worker of a version, whose engine process the history knows by its number."""
    worker = rig.start_worker(program=PROGRAMS[version]["worker"], **settings)
    info = rig.info(worker)
    assert info is not None
    assert ("of_the_next_version" in info.stored()) == (version == "next")
    rig.history.note("of_version", version=version, engine=info.pid)
    return worker


def replace(rig: Rig, old: Worker, version: str, **settings: object) -> Worker:
    """Start a worker of this version, then end the old one, which gives back what it runs."""
    new = start_worker(rig, version, **settings)
    old.process.send_signal(signal.SIGTERM)
    assert old.process.wait(timeout=60) in (0, 1)
    return new


@contextmanager
def jobs_through(rig: Rig, addresses: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Jobs that keep coming through both gateways by turns; job id -> the version it came by."""
    came_by: dict[str, str] = {}
    stopping = threading.Event()

    def submit() -> None:
        seed = 1000
        while not stopping.wait(0.3):
            for version, address in addresses.items():
                seed += 1
                with Client(address) as client:
                    job = client.submit(picture(24, 16, seed), seed=seed, **FIELDS)
                rig.history.note("submitted", job=job.id, seed=seed)
                came_by[job.id] = version

    thread = threading.Thread(target=submit, name="load", daemon=True)
    thread.start()
    yield came_by
    stopping.set()
    thread.join()


def crossings(rig: Rig, came_by: Mapping[str, str]) -> set[tuple[str, str]]:
    """Which version's jobs have been committed by workers of which version."""
    versions = {line["engine"]: line["version"] for line in rig.history.lines("of_version")}
    commits = rig.history.lines("committed")
    return {(came_by[line["job"]], versions[line["pid"]]) for line in commits}


def serve(rig: Rig, address: str, job_id: str) -> None:
    """Have a gateway answer for a job and its picture; the check compares what it served."""
    with Client(address) as client:
        job = client.job(job_id)
        assert (job.state, job.progress.percent) == ("succeeded", 100.0)
        rig.history.note("served", job=job_id, sha256=sha256(client.image(job)).hexdigest())


def test_an_upgrade_and_its_roll_back_lose_no_job_and_do_none_twice(make_rig: MakeRig) -> None:
    # Given both versions' gateways, and workers that stop at once when they are told to
    rig = make_rig(fake_step_seconds=0.05, grace_seconds=0)
    addresses = {name: rig.start_gateway(program=PROGRAMS[name]["api"]) for name in PROGRAMS}
    worker = start_worker(rig, "this")
    began = time.monotonic()
    # When one version's worker takes the other's place, and back
    with jobs_through(rig, addresses) as came_by:
        for _ in range(size(50, 4)):
            worker = replace(rig, worker, "next")
            worker = replace(rig, worker, "this")
    specs = [rig.store.get(job_id).spec for job_id in came_by]
    jobs = rig.wait_for_end(specs, 120)
    # Then
    rig.settle()
    rig.assert_all(jobs)
    for job_id in came_by:
        for address in addresses.values():
            serve(rig, address, job_id)
    rig.check()
    assert crossings(rig, came_by) == {(a, b) for a in PROGRAMS for b in PROGRAMS}
    assert {job.attempt for job in jobs} == {1}
    keep("rolling_upgrade", **rig.tally(specs), seconds=round(time.monotonic() - began, 1))


def wait_for_a_step_of(rig: Rig, worker: Worker, spec: JobSpec) -> None:
    """Until this very worker has done a step of this job."""
    info = rig.info(worker)
    assert info is not None
    wait_until(
        lambda: rig.history.lines("step_done", seed=spec.params.seed, pid=info.pid),
        description=f"a step of {spec.id} by {info.id}",
        seconds=60,
    )


def test_a_running_job_crosses_from_one_version_to_the_other_and_back(make_rig: MakeRig) -> None:
    # Given a job in the hands of this version, that no worker gets done while the next one starts
    rig = make_rig(fake_step_seconds=2, grace_seconds=0)
    worker = start_worker(rig, "this")
    spec = rig.submit(steps=50)
    wait_for_a_step_of(rig, worker, spec)
    # When the other version takes its place, and back; then it goes on each time
    worker = replace(rig, worker, "next")
    wait_for_a_step_of(rig, worker, spec)
    worker = replace(rig, worker, "this", fake_step_seconds=0.02)
    wait_for_a_step_of(rig, worker, spec)
    rig.assert_all(rig.wait_for_end([spec], 120))
    rig.settle()
    rig.check()
    assert rig.store.get(spec.id).attempt == 1


def test_what_only_the_next_version_can_do_waits_for_its_worker(make_rig: MakeRig) -> None:
    # Given a worker of this version, and a job that it cannot do before others that it can
    rig = make_rig(fake_step_seconds=0.02)
    start_worker(rig, "this")
    made = next_version.grown(json.loads(rig.make_job().stored()))
    newer = rig.submit_spec(JobSpec.read_fields(made | {"needs": RECORDS_VERSION + 1}))
    rig.assert_all(rig.wait_for_end([rig.submit() for _ in range(3)], 60))
    waiting = rig.store.get(newer.id)
    assert (waiting.state, waiting.attempt) == (JobState.QUEUED, 0)
    # When the next version's worker comes beside it
    worker = start_worker(rig, "next")
    # Then
    rig.assert_all(rig.wait_for_end([newer], 60))
    rig.settle()
    rig.check()
    (done,) = rig.history.lines("committed", job=newer.id)
    assert worker.owns(done["worker"])
