"""Storage of pictures' bytes: a shared folder, Redis for fleets without one, or an object store.

Owns atomic writing and expiry. Knows nothing of jobs: a blob is a name and bytes.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import redis

from shared.errors import ImageNotFound, StorageFull
from shared.kept import KeptAs
from shared.ledger.redis_client import MAX_CONNECTIONS, client_for, translated_errors
from shared.object_blobs import ObjectBlobs
from shared.settings import Settings
from shared.store_url import OBJECT_SCHEMES

# One command's part of a large blob: a store with other clients is never blocked for long, and does
# not hold a second copy of the whole as an answer.
REDIS_PART_BYTES = 4 * 2**20

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

    def link(self, name: str, seconds: int) -> str | None:
        """An address at which anyone can fetch the blob for so long, if the store has any."""


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

    def link(self, name: str, seconds: int) -> str | None:
        del name, seconds
        return None


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
        growing, key = f"blob:{name}:{uuid4().hex}", f"blob:{name}"
        with translated_errors():
            if len(data) <= REDIS_PART_BYTES:
                self._redis.set(key, data, ex=self._ttl)
                return
            try:
                for start in range(0, len(data), REDIS_PART_BYTES):
                    self._write(growing, start, data[start : start + REDIS_PART_BYTES])
                self._finish(growing, key, len(data))
            except BaseException:
                with suppress(redis.RedisError):
                    self._redis.delete(growing)
                raise

    def _write(self, growing: str, start: int, part: bytes) -> None:
        # By position, not appended: a command whose answer was lost is sent again.
        with self._redis.pipeline() as pipe:
            pipe.setrange(growing, start, part)
            pipe.expire(growing, int(TEMPORARY_SECONDS))
            pipe.execute()

    def _finish(self, growing: str, key: str, size: int) -> None:
        """The blob appears atomically, and complete."""
        try:
            with self._redis.pipeline() as pipe:
                pipe.expire(growing, self._ttl)
                pipe.rename(growing, key)
                pipe.execute()
        except redis.ResponseError:
            if self._redis.strlen(key) != size:
                raise  # otherwise a command whose answer was lost has already renamed it

    def get(self, name: str) -> bytes:
        key = f"blob:{name}"
        with translated_errors():
            with self._redis.pipeline() as pipe:
                pipe.strlen(key)
                pipe.getrange(key, 0, REDIS_PART_BYTES - 1)
                size, first = pipe.execute()
            parts = [first]
            for start in range(REDIS_PART_BYTES, size, REDIS_PART_BYTES):
                parts.append(self._redis.getrange(key, start, start + REDIS_PART_BYTES - 1))
        data = b"".join(parts)
        if not data or len(data) != size:
            raise ImageNotFound("the picture is gone")
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

    def link(self, name: str, seconds: int) -> str | None:
        del name, seconds
        return None


def open_blobs(settings: Settings) -> BlobStore:
    """The blob store that the settings name."""
    parts = urlsplit(settings.blobs)
    if parts.scheme == "file":
        return FolderBlobs(Path(parts.path), settings.result_ttl_seconds)
    if settings.blobs.startswith(OBJECT_SCHEMES):
        return ObjectBlobs(settings.blobs, settings.result_ttl_seconds)
    client = client_for(
        settings.blobs if parts.netloc or parts.path else settings.redis_url,
        settings.key_prefix,
        socket_timeout=5,
        max_connections=MAX_CONNECTIONS,
    )
    return RedisBlobs(client, settings.result_ttl_seconds)
