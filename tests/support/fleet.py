"""The test acts as the worker: takes a job through its life by the ledger alone."""

from hashlib import sha256
from typing import Any

from shared.blobs import BlobStore
from shared.jobs import Claim, Preview, Progress, Result, Stage, Timings
from shared.ledger.fleet import WorkerInfo, now
from shared.ledger.store import JobStore
from tests.support.pictures import photo

WORKER = "host-1-cpu-0001"


def live_worker(worker_id: str, base: str = "tiny", **more: Any) -> WorkerInfo:
    """The heartbeat of a worker that lives now; `more` are further fields of it."""
    fields = {"host": "h", "pid": 1, "device": "cpu", "profile": "cpu"} | more
    return WorkerInfo(id=worker_id, base=base, last_heartbeat_at=now(), **fields)


def claim(store: JobStore, base: str = "tiny") -> Claim:
    """Claims the next job for this worker."""
    claimed = store.claim(base, WORKER)
    assert claimed is not None
    return claimed


def progress(percent: float, step: int = 1) -> Progress:
    return Progress(
        stage=Stage.DENOISING, percent=percent, step=step, total_steps=4, eta_seconds=0.5
    )


def show_preview(store: JobStore, blobs: BlobStore, claimed: Claim) -> bytes:
    """Stores a preview's bytes and reports them."""
    data, name = photo(32, 24, "WEBP"), f"previews/{claimed.spec.id}"
    blobs.put(name, data)
    store.report_preview(claimed, Preview(blob=name, width=32, height=24))
    return data


def finish(store: JobStore, blobs: BlobStore, claimed: Claim) -> bytes:
    """Commits a picture as the job's result."""
    data, name = photo(kind="PNG"), f"results/{claimed.spec.id}"
    blobs.put(name, data)
    result = Result(
        blob=name,
        width=64,
        height=48,
        format="png",
        size_bytes=len(data),
        sha256=sha256(data).hexdigest(),
    )
    done = Progress(stage=Stage.SAVING, percent=100.0, step=4, total_steps=4, eta_seconds=0.0)
    assert store.commit(claimed, result, done, Timings(total_seconds=1.5), []) == "committed"
    return data
