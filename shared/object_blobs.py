"""Blobs in an object store: Amazon's S3 and what speaks like it, Google Cloud Storage, Azure.

Owns names and expiry. shared/object_store.py owns how a store is opened.
"""

import time
from datetime import UTC, datetime, timedelta

from shared.errors import ImageNotFound
from shared.kept import KeptAs
from shared.object_store import open_store, refusals_in_words
from shared.params import MEDIA_TYPES

PART_BYTES = 8 * 2**20
SWEEP_SECONDS = 600.0
# The time of an object's last change cannot be set, so it is written again when it has lived for
# half of its time, and deleted half of its time later.
RENEWED_AT, DELETED_AT = 0.5, 1.5
DELETED_AT_ONCE = 500


class ObjectBlobs:
    """Blobs as objects under one prefix of a bucket. Safe to share between threads."""

    kept_as: KeptAs = "webp"

    def __init__(self, url: str, ttl_seconds: int) -> None:
        self._ttl = ttl_seconds
        self._next_sweep = 0.0
        self._obstore, self._store = open_store(url, "RETOUCH_BLOB_URL")

    def put(self, name: str, data: bytes) -> None:
        attributes = {"Content-Type": _media_type(name), "Content-Disposition": "inline"}
        with refusals_in_words():
            self._obstore.put(
                self._store,
                name,
                data,
                attributes=attributes,
                use_multipart=len(data) > PART_BYTES,
                chunk_size=PART_BYTES,
                max_concurrency=4,
            )

    def get(self, name: str) -> bytes:
        with refusals_in_words():
            return bytes(self._obstore.get(self._store, name).bytes())

    def touch(self, name: str) -> bool:
        try:
            with refusals_in_words():
                changed: datetime = self._obstore.head(self._store, name)["last_modified"]
            if _age(changed) > self._ttl * RENEWED_AT:
                self.put(name, self.get(name))
        except ImageNotFound:
            return False
        return True

    def delete(self, name: str) -> None:
        try:
            with refusals_in_words():
                self._obstore.delete(self._store, name)
        except ImageNotFound:
            return

    def sweep(self) -> int:
        """Lists the whole prefix, so it does that every ten minutes only."""
        if time.monotonic() < self._next_sweep:
            return 0
        self._next_sweep = time.monotonic() + SWEEP_SECONDS
        deleted = 0
        with refusals_in_words():
            for found in self._obstore.list(self._store, chunk_size=DELETED_AT_ONCE):
                old = [
                    item["path"]
                    for item in found
                    if _age(item["last_modified"]) > self._ttl * DELETED_AT
                ]
                if old:
                    self._obstore.delete(self._store, old)
                deleted += len(old)
        return deleted

    def free_bytes(self) -> int | None:
        return None

    def link(self, name: str, seconds: int) -> str | None:
        """Where anyone can fetch the blob for so long."""
        with refusals_in_words():
            life = timedelta(seconds=seconds)
            return str(self._obstore.sign(self._store, "GET", name, life))


def examine_objects(blobs: object) -> None:
    """Tries what is needed of an object store. Raises StoreRefuses with a sentence,
    StoreUnavailable.
    """
    if not isinstance(blobs, ObjectBlobs):
        return
    name = f"probe/{datetime.now(UTC):%Y%m%d%H%M%S%f}"
    blobs.put(name, b"probe")
    blobs.get(name)
    blobs.sweep()
    blobs.delete(name)


def _age(changed: datetime) -> float:
    # By this machine's clock: a lifetime of a day leaves room for a clock that is minutes wrong.
    return time.time() - changed.timestamp()


def _media_type(name: str) -> str:
    suffix = name.rpartition(".")[2]
    return next((kind for format, kind in MEDIA_TYPES.items() if format == suffix), "image/webp")
