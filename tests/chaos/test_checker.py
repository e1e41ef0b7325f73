"""The checker sees what it is there for: each invariant, broken on purpose in a real ledger."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from shared.jobs import Claim, JobSpec, Progress, Result, Timings
from tests.chaos.checker import Checker
from tests.chaos.conftest import MakeRig
from tests.chaos.rig import BASE, Rig
from worker.engine.interface import StopFlag
from worker.engine.testing.fake import fake_picture
from worker.job.attempt import engine_job
from worker.job.outputs import encode_result
from worker.job.sources import load_source

FINISHED = Progress(percent=100.0)


def verdict(rig: Rig) -> str:
    checker = Checker(rig.client, rig.store, rig.blobs, rig.blob_folder, rig.history)
    return "\n".join(checker.check())


def claimed(rig: Rig, **params: object) -> tuple[JobSpec, Claim]:
    spec = rig.submit(hint=False, guidance_scale=1.0, fidelity="none", **params)
    claim = rig.store.claim(BASE, "w")
    assert claim is not None
    return spec, claim


def commit(rig: Rig, claim: Claim, data: bytes | None = None) -> str:
    """Commit the right picture, or other bytes."""
    params = claim.spec.params
    source = load_source(rig.blobs.get(claim.spec.source.blob), params)
    right = encode_result(fake_picture(engine_job(source, params, (), StopFlag())), params)
    blob = f"results/{claim.spec.id}-{claim.epoch}.png"
    rig.blobs.put(blob, data or right)
    rig.history.note("committed", job=claim.spec.id, epoch=claim.epoch)
    result = Result(
        blob=blob,
        width=16,
        height=12,
        format="png",
        size_bytes=1,
        sha256=sha256(right).hexdigest(),
    )
    return rig.store.commit(claim, result, FINISHED, Timings(), [])


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()


def test_a_history_without_a_fault_has_nothing_against_it(rig: Rig) -> None:
    _, claim = claimed(rig)
    commit(rig, claim)
    assert verdict(rig) == ""


def test_a_job_that_never_ends_is_seen(rig: Rig) -> None:
    rig.submit(hint=False)
    assert "has no last event" in verdict(rig)
    assert "left in the ledger" in verdict(rig)


def add_event(rig: Rig, spec: JobSpec, kind: str, data: str, epoch: int) -> None:
    fields = {"kind": kind, "data": data, "epoch": epoch}
    rig.client.xadd(f"job:{spec.id}:events", fields)  # type: ignore[arg-type]


def twice_committed(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    rig.history.note("committed", job=spec.id, epoch=claim.epoch)


def two_ends(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    add_event(rig, spec, "state", '{"state": "failed"}', claim.epoch)


def older_claim(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    add_event(rig, spec, "progress", '{"percent": 100}', claim.epoch - 1)


def percentage_back(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    add_event(rig, spec, "progress", '{"percent": 40}', claim.epoch)


def key_for_ever(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.client.persist(f"job:{spec.id}")


def orphan(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    rig.blobs.put(f"results/{spec.id}-{claim.epoch + 1}.png", b"nobody's")


def temporary_file_that_stays(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    Path(rig.blob_folder / f"{spec.id}.part").touch()


def result_after_cancel(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.history.note("cancel", job=spec.id, acknowledged=True)


def lost(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.client.delete(f"job:{spec.id}")


def refused_and_there(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.history.note("refused", job=spec.id, code="queue_full")


def claimed_by_two(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    for worker in ("w", "v"):
        rig.history.note("claimed", job=spec.id, epoch=claim.epoch, worker=worker)


def one_epoch_twice(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    add_event(rig, spec, "state", '{"state": "running"}', claim.epoch)


def anothers_result(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    job = rig.store.get(spec.id)
    assert job.result is not None
    other = job.result.model_copy(update={"blob": f"results/{spec.id}-{claim.epoch + 1}.png"})
    rig.blobs.put(other.blob, rig.blobs.get(job.result.blob))
    rig.client.hset(f"job:{spec.id}", "result", other.model_dump_json())


def other_bytes_served(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.history.note("served", job=spec.id, sha256="0" * 64)


def picture_gone(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    rig.blobs.delete(f"results/{spec.id}-{claim.epoch}.png")


def result_of_a_failure(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.client.hset(f"job:{spec.id}", "state", "failed")


def ends_twice(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    add_event(rig, spec, "error", '{"code": "internal_error"}', claim.epoch)


def goes_on_after_its_end(rig: Rig, spec: JobSpec, claim: Claim) -> None:
    add_event(rig, spec, "progress", '{"percent": 100}', claim.epoch)


def place_that_stays(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.client.zadd("queue:tiny:interactive:anonymous", {spec.id: 1})
    rig.client.expire("queue:tiny:interactive:anonymous", 60)


def still_held(rig: Rig, spec: JobSpec, _claim: Claim) -> None:
    rig.client.sadd("held:w", spec.id)
    rig.client.expire("held:w", 60)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (twice_committed, "was committed twice"),
        (two_ends, "its events say"),
        (older_claim, "an event of an older claim"),
        (percentage_back, "went back"),
        (key_for_ever, "keys without a time to live"),
        (orphan, "blobs that nobody refers to"),
        (temporary_file_that_stays, "blobs that nobody refers to"),
        (result_after_cancel, "after a cancel"),
        (still_held, "left in the ledger"),
        (place_that_stays, "left in the ledger"),
        (lost, "was acknowledged and is lost"),
        (refused_and_there, "was refused and is there"),
        (claimed_by_two, "claims that two workers have"),
        (one_epoch_twice, "has one epoch twice"),
        (anothers_result, "has another's result"),
        (other_bytes_served, "other bytes were served"),
        (picture_gone, "its picture is gone"),
        (result_of_a_failure, "is failed and has a result"),
        (result_of_a_failure, "failed without saying why"),
        (ends_twice, "ended 2 times"),
        (goes_on_after_its_end, "has no last event"),
    ],
)
def test_damage_is_seen(
    rig: Rig, damage: Callable[[Rig, JobSpec, Claim], None], sentence: str
) -> None:
    spec, claim = claimed(rig)
    assert commit(rig, claim) == "committed"
    damage(rig, spec, claim)
    assert sentence in verdict(rig)


def test_other_bytes_and_wrong_pictures_are_seen(rig: Rig) -> None:
    _, claim = claimed(rig)
    _, other = claimed(rig)
    source = load_source(rig.blobs.get(other.spec.source.blob), other.spec.params)
    wrong = encode_result(
        fake_picture(engine_job(source, other.spec.params, (), StopFlag())), other.spec.params
    )
    commit(rig, claim, wrong)
    commit(rig, other)
    assert "other bytes" in verdict(rig)
    assert "the wrong picture" in verdict(rig)
