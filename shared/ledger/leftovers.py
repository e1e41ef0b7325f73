"""Deletes what attempts that came to nothing have left in the blob store.

Owns the names of an attempt's blobs: both sides have to know them, the worker to write them and
whoever takes a job back to delete them.
"""

from shared.blobs import BlobStore
from shared.jobs import Job
from shared.params import MEDIA_TYPES, ImageFormat


def result_blob(job_id: str, epoch: int, image_format: ImageFormat) -> str:
    """Where one attempt puts its picture."""
    return f"results/{job_id}-{epoch}.{image_format}"


def preview_blob(job_id: str, epoch: int) -> str:
    """Where one attempt puts its previews, the newest over the one before."""
    return f"previews/{job_id}-{epoch}.webp"


def discard_result(blobs: BlobStore, job_id: str, epoch: int) -> None:
    """Forget the picture of an attempt that can no longer commit it."""
    for image_format in MEDIA_TYPES:
        blobs.delete(f"results/{job_id}-{epoch}.{image_format}")


def discard_attempt(blobs: BlobStore, job: Job, epoch: int) -> None:
    """Forget what an attempt has left that was taken from its worker, and previews of earlier ones
    that it had no time to forget. A preview that the job's record names stays.
    """
    discard_result(blobs, job.id, epoch)
    for earlier in range(1, epoch + 1):
        preview = preview_blob(job.id, earlier)
        if job.preview is None or job.preview.blob != preview:
            blobs.delete(preview)


def discard_results_before(blobs: BlobStore, job_id: str, epoch: int) -> None:
    """Forget the pictures of all attempts before `epoch`."""
    for earlier in range(1, epoch):
        discard_result(blobs, job_id, earlier)


def discard_previews_before(blobs: BlobStore, job_id: str, epoch: int) -> None:
    """Forget the previews of all attempts before `epoch`, which has one of its own now."""
    for earlier in range(1, epoch):
        blobs.delete(preview_blob(job_id, earlier))
