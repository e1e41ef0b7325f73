"""Blobs: whole or not at all, gone when their time is over."""

import errno
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from shared.blobs import REDIS_PART_BYTES, BlobStore, FolderBlobs, RedisBlobs, open_blobs
from shared.errors import ImageNotFound, StorageFull
from shared.settings import Settings


@pytest.fixture(params=["folder", "redis"])
def blobs(
    request: pytest.FixtureRequest,
    make_settings: Callable[..., Settings],
    redis_client: redis.Redis,
) -> BlobStore:
    del redis_client  # empties the store before, watches for keys without a time to live after
    url = "" if request.param == "folder" else "redis://"
    return open_blobs(make_settings(blob_url=url))


def test_what_was_put_can_be_got_until_it_is_deleted(blobs: BlobStore) -> None:
    blobs.put("results/a.png", b"\x00\xffbytes")
    assert blobs.get("results/a.png") == b"\x00\xffbytes"
    assert blobs.touch("results/a.png")
    blobs.delete("results/a.png")
    assert not blobs.touch("results/a.png")
    with pytest.raises(ImageNotFound):
        blobs.get("results/a.png")
    blobs.delete("results/a.png")


def test_a_second_put_replaces_the_first(blobs: BlobStore) -> None:
    blobs.put("a", b"one")
    blobs.put("a", b"two")
    assert blobs.get("a") == b"two"


def test_the_folder_forgets_what_has_outlived_its_time(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path, ttl_seconds=100)
    blobs.put("old", b"1")
    blobs.put("fresh", b"2")
    os.utime(tmp_path / "old", (time.time() - 200,) * 2)
    assert blobs.sweep() == 1
    assert blobs.get("fresh") == b"2"
    with pytest.raises(ImageNotFound):
        blobs.get("old")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        FolderBlobs(tmp_path, ttl_seconds=100).put("a.png", b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_large_picture_is_kept_whole(blobs: BlobStore) -> None:
    large = random.Random(0).randbytes(5 * REDIS_PART_BYTES + 17)  # more than 16 MiB
    for data in (large, large[: 2 * REDIS_PART_BYTES], large[::-1]):
        blobs.put("large", data)
        assert blobs.get("large") == data
    assert blobs.touch("large")
    blobs.delete("large")
    with pytest.raises(ImageNotFound):
        blobs.get("large")


def in_redis(redis_client: redis.Redis) -> RedisBlobs:
    """Blobs in the store, over a client that does not take bytes for text."""
    port = redis_client.get_connection_kwargs()["port"]
    return RedisBlobs(redis.Redis(port=port), ttl_seconds=100)


def test_nobody_sees_half_of_a_picture_that_redis_is_being_given(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a store that runs full in the middle
    blobs, small = in_redis(redis_client), b"as it was"
    blobs.put("picture", small)
    write, written = RedisBlobs._write, []

    def full(self: RedisBlobs, growing: str, start: int, part: bytes) -> None:
        written.append(start)
        if len(written) == 3:
            raise redis.exceptions.OutOfMemoryError("command not allowed")
        write(self, growing, start, part)
        assert blobs.get("picture") == small

    monkeypatch.setattr(RedisBlobs, "_write", full)

    # When
    with pytest.raises(StorageFull):
        blobs.put("picture", bytes(4 * REDIS_PART_BYTES))

    # Then the old one is there, and nothing else
    assert blobs.get("picture") == small
    assert redis_client.keys("*") == ["blob:picture"]


def test_a_large_picture_is_whole_though_every_command_s_answer_was_lost_once(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, data = in_redis(redis_client), random.Random(1).randbytes(2 * REDIS_PART_BYTES + 5)
    for name in ("_write", "_finish"):
        once = getattr(RedisBlobs, name)

        def twice(*arguments: object, once: Callable[..., None] = once) -> None:
            once(*arguments)
            once(*arguments)

        monkeypatch.setattr(RedisBlobs, name, twice)

    blobs.put("picture", data)

    assert blobs.get("picture") == data


def test_a_large_picture_that_vanishes_while_it_is_read_is_gone(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = in_redis(redis_client)
    blobs.put("picture", bytes(3 * REDIS_PART_BYTES))
    read = redis.Redis.getrange

    def getrange(self: redis.Redis, *arguments: object) -> object:
        blobs.delete("picture")
        return read(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(blobs._redis, "getrange", getrange.__get__(blobs._redis))

    with pytest.raises(ImageNotFound):
        blobs.get("picture")
