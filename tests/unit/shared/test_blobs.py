"""Blobs: whole or not at all, gone when their time is over."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from shared.blobs import REDIS_BLOB_LIMIT, BlobStore, FolderBlobs, RedisBlobs, open_blobs
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


def test_redis_refuses_what_is_too_large_for_it(redis_client: redis.Redis) -> None:
    with pytest.raises(StorageFull):
        RedisBlobs(redis_client, 10).put("big", bytes(REDIS_BLOB_LIMIT + 1))
