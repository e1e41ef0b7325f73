"""LoRA files from a bucket: by tag, complete or not at all, never outside their folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from shared.loras.catalog import Catalog
from shared.loras.sync import LoraSync, is_fitting
from shared.settings import BadSettings, load_settings
from tests.support.object_stores import BUCKET, lead_to, running_s3
from tests.unit.loras.lora_files import tiny_specs, write_lora


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Any]]:
    with running_s3() as running:
        yield running


@pytest.fixture
def bucket(s3: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    lead_to(s3[0], monkeypatch)
    for item in s3[1].list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3[1].delete_object(Bucket=BUCKET, Key=item["Key"])
    return s3[1]


def put(bucket: Any, name: str, data: bytes = b"weights") -> None:
    bucket.put_object(Bucket=BUCKET, Key=f"loras/{name}", Body=data)


def files_in(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_folder_follows_the_bucket(bucket: Any, tmp_path: Path) -> None:
    sync = LoraSync(f"s3://{BUCKET}/loras", tmp_path)
    put(bucket, "a.safetensors")
    put(bucket, "faces/b.safetensors")
    put(bucket, "readme.html")
    assert len(sync.sync()) == 2
    assert set(files_in(tmp_path)) == {"a.safetensors", "faces/b.safetensors"}
    assert sync.sync() == []

    put(bucket, "a.safetensors", b"better weights")
    bucket.delete_object(Bucket=BUCKET, Key="loras/faces/b.safetensors")

    assert set(sync.sync()) == {"a.safetensors", "faces/b.safetensors"}
    assert files_in(tmp_path) == {"a.safetensors": b"better weights"}


def test_a_file_that_somebody_deleted_here_is_fetched_again(bucket: Any, tmp_path: Path) -> None:
    sync = LoraSync(f"s3://{BUCKET}/loras", tmp_path)
    put(bucket, "a.safetensors")
    sync.sync()
    (tmp_path / "a.safetensors").unlink()

    assert sync.sync() == ["a.safetensors"]


def test_two_processes_with_one_folder_do_not_do_the_work_twice(
    bucket: Any, tmp_path: Path
) -> None:
    put(bucket, "a.safetensors")
    one, other = (LoraSync(f"s3://{BUCKET}/loras", tmp_path) for _ in range(2))

    with one._alone():
        assert other.sync() == []

    assert other.sync() == ["a.safetensors"]


def test_a_fetched_file_is_offered_like_any_other(bucket: Any, tmp_path: Path) -> None:
    write_lora(tmp_path / "made.safetensors", tiny_specs())
    put(bucket, "new_tiny.safetensors", (tmp_path / "made.safetensors").read_bytes())
    folder = tmp_path / "synced"
    sync = LoraSync(f"s3://{BUCKET}/loras", folder)
    sync.start(wait=True)
    sync.stop()
    catalog = Catalog((folder,), "tiny")
    catalog.scan()

    assert [entry.name for entry in catalog.entries()] == ["new_tiny"]


def test_without_the_bucket_what_was_fetched_before_is_kept(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "a.safetensors")
    LoraSync(f"s3://{BUCKET}/loras", tmp_path).sync()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    away = LoraSync(f"s3://{BUCKET}/loras", tmp_path)

    with pytest.raises(StoreUnavailable):
        away.sync()

    assert set(files_in(tmp_path)) == {"a.safetensors"}


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a.safetensors", True),
        ("faces/a.toml", True),
        ("../a.safetensors", False),
        ("faces/../../a.safetensors", False),
        ("/etc/a.toml", False),
        (".hidden/a.safetensors", False),
        ("a.py", False),
    ],
)
def test_only_files_of_loras_inside_the_folder_are_fetched(name: str, fits: bool) -> None:
    assert is_fitting(name) is fits


def test_an_address_without_a_bucket_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETOUCH_LORAS_URL", "https://bucket/loras")

    with pytest.raises(BadSettings, match="RETOUCH_LORAS_URL"):
        load_settings(_env_file=None)
