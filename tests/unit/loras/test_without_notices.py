"""A folder on a file system that tells of no change, and one that cannot be written."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from shared.loras import watcher
from shared.loras.catalog import Catalog
from shared.loras.files import open_file
from tests.support.wait import wait_until
from tests.unit.loras.lora_files import tiny_specs, write_lora

SUBFOLDERS, EACH = 40, 3
# Beyond the interval between looks, on a busy machine.
SEEN_WITHIN_SECONDS = 10.0


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a share of another machine: the kernel tells of nothing."""

    def silent(*_: object, **options: object) -> Iterator[set[object]]:
        stop = options["stop_event"]
        while not stop.is_set():  # type: ignore[attr-defined]
            time.sleep(0.02)
            yield set()

    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4"),
    ]
    monkeypatch.setattr(watcher, "watch", silent)
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: mounts)
    monkeypatch.setattr(watcher, "_POLL_SECONDS", 0.1)
    folder = tmp_path / "loras"
    folder.mkdir()
    return folder


@pytest.fixture
def catalog(share: Path) -> Iterator[Catalog]:
    write_lora(share / "old_tiny.safetensors", tiny_specs())
    made = Catalog(share, "tiny")
    made.watch()
    wait_for(made, {"old_tiny"})
    yield made
    made.close()


def names(catalog: Catalog) -> set[str]:
    return {entry.name for entry in catalog.entries()}


def wait_for(catalog: Catalog, expected: set[str]) -> None:
    wait_until(
        lambda: names(catalog) == expected,
        description=f"{expected} to be offered",
        seconds=SEEN_WITHIN_SECONDS,
    )


def test_dropped_and_removed_files_are_seen_in_any_subfolder(catalog: Catalog, share: Path) -> None:
    (share / "people").mkdir()
    write_lora(share / "people" / "new_tiny.safetensors", tiny_specs())
    wait_for(catalog, {"old_tiny", "people/new_tiny"})

    shutil.rmtree(share / "people")
    wait_for(catalog, {"old_tiny"})


@pytest.mark.parametrize("what", ["size", "time"])
def test_a_replaced_file_is_seen_by_its_size_or_its_time(
    catalog: Catalog, share: Path, what: str
) -> None:
    before, path = catalog.resolve("old").sha256, share / "old_tiny.safetensors"
    other = write_lora(share / "other", tiny_specs(rank=3), {"a": "b"})
    if what == "time":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1  # the lowest bit of a weight
        other.write_bytes(data)
    other.replace(path)

    wait_until(
        lambda: catalog.resolve("old").sha256 != before,
        description="the new file",
        seconds=SEEN_WITHIN_SECONDS,
    )


def test_a_half_copied_file_waits_there_too(catalog: Catalog, share: Path) -> None:
    whole = write_lora(share / "upload", tiny_specs()).read_bytes()
    path = share / "slow_tiny.safetensors"
    path.write_bytes(whole[: len(whole) // 2])
    looks = catalog._index
    wait_until(lambda: catalog._index is not looks, description="another look")
    assert names(catalog) == {"old_tiny"}

    path.write_bytes(whole)
    wait_for(catalog, {"old_tiny", "slow_tiny"})


def tree(root: Path) -> Path:
    """Files in forty subfolders, two levels deep."""
    whole = write_lora(root / "one", tiny_specs(rank=1)).read_bytes()
    (root / "one").unlink()
    for number in range(SUBFOLDERS):
        folder = root / f"{number % 8}" / f"{number:02}"
        folder.mkdir(parents=True)
        for index in range(EACH):
            (folder / f"lora{index}_tiny.safetensors").write_bytes(whole)
    return root


@pytest.fixture
def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes are read from now on."""
    read: list[str] = []

    def spied(path: Path) -> BinaryIO:
        read.append(path.name)
        return open_file(path)

    monkeypatch.setattr("shared.loras.inspection.open_file", spied)
    return read


def test_of_many_files_in_forty_subfolders_only_the_changed_one_is_read_again(
    share: Path, read_paths: list[str]
) -> None:
    catalog = Catalog(tree(share), "tiny")
    catalog.scan()
    assert len(catalog.entries()) == len(read_paths) == SUBFOLDERS * EACH
    read_paths.clear()

    path = share / "3" / "03" / "lora1_tiny.safetensors"
    write_lora(path, tiny_specs(rank=2))
    catalog.scan()

    assert read_paths == ["lora1_tiny.safetensors"]
    assert catalog.resolve("3/03/lora1").rank == 2


def test_nothing_is_written_into_the_folder(share: Path, tmp_path: Path) -> None:
    """A mount may be read-only, as containers mount it."""
    tree(share)
    (share / "loras.lock.toml").write_text("")
    before = stated(share)
    share.chmod(0o555)

    catalog = Catalog(share, "tiny", digests=tmp_path / "digests.json")
    catalog.scan()
    catalog.watch()
    wait_until(lambda: len(catalog.entries()) == SUBFOLDERS * EACH, description="the entries")
    catalog.close()

    share.chmod(0o755)
    assert stated(share) == before
    assert (tmp_path / "digests.json").exists()


def stated(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {str(path): path.stat().st_mtime_ns for path in paths}
