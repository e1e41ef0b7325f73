"""Storage of pictures' bytes: a shared folder, or Redis for fleets without one.

Owns atomic writing and expiry. Knows nothing of jobs: a blob is a name and bytes.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import redis

from shared.errors import ImageNotFound, StorageFull
from shared.kept import KeptAs
from shared.ledger.redis_client import MAX_CONNECTIONS, translated_errors
from shared.settings import Settings

# Redis blobs are for small fleets: larger pictures belong on a disk.
REDIS_BLOB_LIMIT = 16 * 2**20

# Writing takes seconds at most, so an older temporary file was left by a process that died.
TEMPORARY_SECONDS = 600.0


class BlobStore(Protocol):
    """Named bytes that expire. We choose the names (`kind/name`); they never contain a caller's
    text.
    """

    @property
    def kept_as(self) -> KeptAs:
        """The encoding for uploads in this store: fast if space is cheap, small otherwise."""

    def put(self, name: str, data: bytes) -> None:
        """Stores the bytes completely or not at all. Raises StorageFull."""

    def get(self, name: str) -> bytes:
        """The bytes. Raises ImageNotFound."""

    def touch(self, name: str) -> bool:
        """Renews the blob's time to live; False if it is gone."""

    def delete(self, name: str) -> None:
        """Deletes a blob; unknown names are ignored."""

    def sweep(self) -> int:
        """Deletes expired blobs; returns how many were deleted."""

    def free_bytes(self) -> int | None:
        """The free space in bytes, if known."""


class FolderBlobs:
    """Blobs as files under one folder, shared by gateway and workers."""

    kept_as: KeptAs = "ppm"

    def __init__(self, root: Path, ttl_seconds: int) -> None:
        self._root = root
        self._ttl = ttl_seconds
        root.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, data: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageFull(f"the disk refuses to store a picture: {error.strerror}") from error

    def get(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError as error:
            raise ImageNotFound("the picture is gone") from error

    def touch(self, name: str) -> bool:
        try:
            os.utime(self._root / name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def sweep(self) -> int:
        deleted = 0
        for path in self._root.rglob("*"):
            life = min(self._ttl, TEMPORARY_SECONDS) if path.name.startswith(".") else self._ttl
            try:
                if path.is_file() and path.stat().st_mtime < time.time() - life:
                    path.unlink()
                    deleted += 1
            except FileNotFoundError:
                continue  # another sweeper was faster
        return deleted

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(self._root).free


def _sync_folder(folder: Path) -> None:
    """Makes a new name survive a power failure, as its bytes do."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RedisBlobs:
    """Blobs in Redis, each with a time to live, for machines that share no disk."""

    kept_as: KeptAs = "webp"

    def __init__(self, client: "redis.Redis", ttl_seconds: int) -> None:
        self._redis = client
        self._ttl = ttl_seconds

    def put(self, name: str, data: bytes) -> None:
        if len(data) > REDIS_BLOB_LIMIT:
            raise StorageFull("the picture is too large to be stored in Redis")
        with translated_errors():
            self._redis.set(f"blob:{name}", data, ex=self._ttl)

    def get(self, name: str) -> bytes:
        with translated_errors():
            data = self._redis.get(f"blob:{name}")
        if data is None:
            raise ImageNotFound("the picture is gone")
        assert isinstance(data, bytes)
        return data

    def touch(self, name: str) -> bool:
        with translated_errors():
            return bool(self._redis.expire(f"blob:{name}", self._ttl))

    def delete(self, name: str) -> None:
        with translated_errors():
            self._redis.delete(f"blob:{name}")

    def sweep(self) -> int:
        return 0  # Redis expires its own keys

    def free_bytes(self) -> int | None:
        return None


def open_blobs(settings: Settings) -> BlobStore:
    """The blob store that the settings name."""
    parts = urlsplit(settings.blobs)
    if parts.scheme == "file":
        return FolderBlobs(Path(parts.path), settings.result_ttl_seconds)
    client = redis.Redis.from_url(
        settings.blobs if parts.hostname else settings.redis_url,
        socket_timeout=5,
        max_connections=MAX_CONNECTIONS,
    )
    return RedisBlobs(client, settings.result_ttl_seconds)
