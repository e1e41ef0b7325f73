"""Deletes the blobs of failed attempts from the blob store.

Owns the names of an attempt's blobs: the worker needs them for writing, and whoever takes a job
back needs them for deleting.
"""

from shared.blobs import BlobStore
from shared.jobs import Job
from shared.params import MEDIA_TYPES, ImageFormat


def result_blob(job_id: str, epoch: int, image_format: ImageFormat) -> str:
    """The name of an attempt's picture."""
    return f"results/{job_id}-{epoch}.{image_format}"


def preview_blob(job_id: str, epoch: int) -> str:
    """The name of an attempt's preview; each preview overwrites the one before."""
    return f"previews/{job_id}-{epoch}.webp"


def refused_blob(job_id: str, epoch: int, image_format: ImageFormat) -> str:
    """The name of an attempt's picture that a guard refused."""
    return f"refused/{job_id}-{epoch}.{image_format}"


def discard_result(blobs: BlobStore, job_id: str, epoch: int) -> None:
    """Deletes the picture of an attempt that can no longer commit it."""
    for image_format in MEDIA_TYPES:
        blobs.delete(f"results/{job_id}-{epoch}.{image_format}")


def discard_attempt(blobs: BlobStore, job: Job, epoch: int) -> None:
    """Deletes the blobs of an attempt that was taken from its worker, and previews of earlier
    attempts that the worker had no time to delete. A preview that the job's record refers to is
    kept.
    """
    discard_result(blobs, job.id, epoch)
    for earlier in range(1, epoch + 1):
        preview = preview_blob(job.id, earlier)
        if job.preview is None or job.preview.blob != preview:
            blobs.delete(preview)


def discard_results_before(blobs: BlobStore, job_id: str, epoch: int) -> None:
    """Deletes the pictures of all attempts before `epoch`."""
    for earlier in range(1, epoch):
        discard_result(blobs, job_id, earlier)


def discard_previews_before(blobs: BlobStore, job_id: str, epoch: int) -> None:
    """Deletes the previews of all attempts before `epoch`, which now has a preview of its own."""
    for earlier in range(1, epoch):
        blobs.delete(preview_blob(job_id, earlier))
