"""Pictures in an object store: an S3 server that runs here, and what real ones refuse."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from api.__main__ import refuse_refusing_blobs
from shared.blobs import BlobStore, open_blobs
from shared.errors import ImageNotFound, StoreRefuses, StoreUnavailable
from shared.object_blobs import PART_BYTES
from shared.settings import BadSettings, Settings, load_settings
from tests.support.object_stores import BUCKET, KEYS, lead_to, refusing_s3, running_s3

Make = Callable[..., Settings]


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Any]]:
    with running_s3() as running:
        yield running


@pytest.fixture
def bucket(s3: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The environment leads to the server; a client of it."""
    lead_to(s3[0], monkeypatch)
    return s3[1]


@pytest.fixture
def blobs(bucket: Any, make_settings: Make) -> BlobStore:
    del bucket
    return open_blobs(make_settings(blob_url=f"s3://{BUCKET}/team/a"))


def test_a_picture_is_an_object_under_the_prefix_with_its_type(
    blobs: BlobStore, bucket: Any
) -> None:
    blobs.put("results/one.jpeg", b"picture")

    assert blobs.get("results/one.jpeg") == b"picture"
    known = bucket.head_object(Bucket=BUCKET, Key="team/a/results/one.jpeg")
    assert known["ContentType"] == "image/jpeg"
    blobs.delete("results/one.jpeg")
    blobs.delete("results/one.jpeg")
    with pytest.raises(ImageNotFound):
        blobs.get("results/one.jpeg")


def test_a_large_picture_goes_in_parts_and_is_whole(blobs: BlobStore, bucket: Any) -> None:
    large = os.urandom(PART_BYTES * 2 + 1)

    blobs.put("results/large.png", large)

    assert blobs.get("results/large.png") == large
    # Amazon's tag of an upload in parts ends in their number
    tag = bucket.head_object(Bucket=BUCKET, Key="team/a/results/large.png")["ETag"]
    assert tag.strip('"').endswith("-3")


def test_a_link_serves_the_picture_to_anyone(blobs: BlobStore) -> None:
    blobs.put("results/linked.png", b"picture")

    link = blobs.link("results/linked.png", 60)

    assert link is not None
    answer = httpx2.get(link)
    assert (answer.content, answer.headers["content-type"]) == (b"picture", "image/png")


def test_old_pictures_are_swept_and_touched_ones_are_kept(bucket: Any, make_settings: Make) -> None:
    settings = make_settings(blob_url=f"s3://{BUCKET}/swept", result_ttl_seconds=2)
    blobs = open_blobs(settings)
    for name in ("sources/old", "sources/used"):
        blobs.put(name, b"picture")
    time.sleep(2.1)
    assert blobs.touch("sources/used")
    assert not blobs.touch("sources/unknown")
    time.sleep(1.1)

    assert blobs.sweep() == 1

    found = bucket.list_objects_v2(Bucket=BUCKET, Prefix="swept/")["Contents"]
    assert [item["Key"] for item in found] == ["swept/sources/used"]


def test_a_bucket_that_does_not_exist_ends_the_gateway_in_words(
    bucket: Any, make_settings: Make
) -> None:
    del bucket
    with pytest.raises(BadSettings, match="there is no such bucket"):
        refuse_refusing_blobs(make_settings(blob_url="s3://elsewhere/a"))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "get, put, list and delete objects"),
        (403, "InvalidAccessKeyId", "its key is unknown there"),
        (403, "SignatureDoesNotMatch", "its secret key is wrong"),
        (400, "ExpiredToken", "its credentials have expired"),
    ],
)
def test_what_a_store_refuses_is_said_at_start_without_secrets(
    monkeypatch: pytest.MonkeyPatch, make_settings: Make, status: int, code: str, words: str
) -> None:
    with refusing_s3(status, code) as url:
        lead_to(url, monkeypatch)
        with pytest.raises(BadSettings, match=words) as refused:
            refuse_refusing_blobs(make_settings(blob_url=f"s3://{BUCKET}/a"))
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(refused.value)


def test_credentials_that_expire_between_two_parts_are_a_passing_refusal(
    monkeypatch: pytest.MonkeyPatch, make_settings: Make
) -> None:
    with refusing_s3(400, "ExpiredToken", after=1) as url:
        lead_to(url, monkeypatch)
        blobs = open_blobs(make_settings(blob_url=f"s3://{BUCKET}/a"))
        # A worker repeats what it raises, and a caller is told 503
        with pytest.raises(StoreUnavailable, match="credentials have expired"):
            blobs.put("results/large.png", bytes(PART_BYTES * 3))


def test_a_store_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, make_settings: Make
) -> None:
    lead_to("http://127.0.0.1:1", monkeypatch)
    settings = make_settings(blob_url=f"s3://{BUCKET}/a")

    refuse_refusing_blobs(settings)
    with pytest.raises(StoreUnavailable) as refused:
        open_blobs(settings).put("a", b"a")

    assert not isinstance(refused.value, StoreRefuses)


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "http://bucket", "bucket"])
def test_an_address_without_a_bucket_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("RETOUCH_BLOB_URL", url)

    with pytest.raises(BadSettings, match="RETOUCH_BLOB_URL"):
        load_settings(_env_file=None)
