"""Files dropped, replaced, removed and half-written under a running catalogue."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from shared.errors import LoraQuarantined
from shared.loras.catalog import Catalog
from shared.loras.watcher import FolderWatcher
from tests.support.wait import wait_until
from tests.unit.loras.lora_files import tiny_specs, write_lora


@pytest.fixture(autouse=True)
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sweep ever finds what the system's events did not tell of."""
    monkeypatch.setattr("shared.loras.watcher._SWEEP_SECONDS", 3600.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "loras"
    path.mkdir()
    return path


@pytest.fixture
def catalog(folder: Path) -> Iterator[Catalog]:
    """A catalogue that follows a folder with one LoRA in it."""
    write_lora(folder / "old_tiny.safetensors", tiny_specs())
    catalog = Catalog(folder, "tiny")
    catalog.scan()
    catalog.watch()
    yield catalog
    catalog.close()


def names(catalog: Catalog) -> set[str]:
    return {entry.name for entry in catalog.entries()}


def wait_for_names(catalog: Catalog, expected: set[str]) -> None:
    wait_until(lambda: names(catalog) == expected, description=f"{expected} to be offered")


def test_a_dropped_file_is_offered(catalog: Catalog, folder: Path) -> None:
    write_lora(folder / "new_tiny.safetensors", tiny_specs())

    wait_for_names(catalog, {"old_tiny", "new_tiny"})


def test_a_file_renamed_into_place_is_offered(catalog: Catalog, folder: Path) -> None:
    upload = write_lora(folder / "new_tiny.safetensors.part", tiny_specs())
    wait_until(lambda: names(catalog) == {"old_tiny"}, description="the upload to be passed over")

    upload.rename(folder / "new_tiny.safetensors")

    wait_for_names(catalog, {"old_tiny", "new_tiny"})


@pytest.mark.parametrize("in_place", [True, False])
def test_a_replaced_file_is_a_new_lora_under_the_old_name(
    catalog: Catalog, folder: Path, in_place: bool
) -> None:
    (before,) = catalog.entries()
    path = folder / "old_tiny.safetensors"

    upload = write_lora(path if in_place else folder / "upload", tiny_specs(rank=8))
    upload.rename(path)

    wait_until(
        lambda: [e.rank for e in catalog.entries()] == [8],
        description="the new file under the old name",
    )
    assert catalog.resolve("old").sha256 != before.sha256


def test_a_removed_file_is_withdrawn(catalog: Catalog, folder: Path) -> None:
    (folder / "old_tiny.safetensors").unlink()

    wait_for_names(catalog, set())


def test_a_half_written_file_is_offered_when_its_last_byte_is_there(
    catalog: Catalog, folder: Path
) -> None:
    # Given a copy that takes its time
    whole = write_lora(folder.parent / "whole.safetensors", tiny_specs(rank=64)).read_bytes()
    seen: list[set[str]] = []
    path = folder / "slow_tiny.safetensors"
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(whole), len(whole) // 8):
            file.write(whole[start : start + len(whole) // 8])
            deadline = time.monotonic() + 0.15
            wait_until(lambda end=deadline: time.monotonic() > end, description="the slow copy")
            seen.append(names(catalog))
    # Then it shows up whole or not at all
    assert all(shown == {"old_tiny"} for shown in seen[:-1])
    wait_for_names(catalog, {"old_tiny", "slow_tiny"})
    assert catalog.resolve("slow").rank == 64


def test_a_new_sidecar_and_a_release_take_effect(catalog: Catalog, folder: Path) -> None:
    write_lora(folder / "odd_tiny.safetensors", tiny_specs(), {"note": "<script>"})
    wait_for_names(catalog, {"old_tiny", "odd_tiny"})
    held = catalog.entries()[0]

    (folder / "odd_tiny.toml").write_text('title = "Odd"')
    (folder / "loras.lock.toml").write_text(f'[released]\n"{held.sha256}" = "seen"')

    wait_until(
        lambda: (
            (entry := catalog.entries()[0]).title["en"] == "Odd"
            and entry.state.value == "available"
        ),
        description="the release and the title",
    )


def test_the_folder_may_be_replaced_as_a_whole(catalog: Catalog, folder: Path) -> None:
    shutil.rmtree(folder)
    wait_for_names(catalog, set())

    fresh = folder.parent / "fresh"
    fresh.mkdir()
    write_lora(fresh / "first_tiny.safetensors", tiny_specs())
    fresh.rename(folder)

    wait_for_names(catalog, {"first_tiny"})
    write_lora(folder / "second_tiny.safetensors", tiny_specs())
    wait_for_names(catalog, {"first_tiny", "second_tiny"})


def test_a_folder_with_the_inode_of_the_one_that_it_replaces_is_followed(folder: Path) -> None:
    # Given a folder that is replaced during a look at it: most file systems give the inode again
    looks: list[set[str]] = []

    def look() -> bool:
        looks.append({path.name for path in folder.iterdir()})
        if "go" in looks[-1]:
            shutil.rmtree(folder)
            folder.mkdir()
        return False

    watcher = FolderWatcher(folder, look)
    watcher.start()
    try:
        wait_until(lambda: looks, description="the first look")
        (folder / "go").touch()
        wait_until(lambda: {"go"} in looks, description="the replacement")
        wait_until(lambda: looks[-1] == set(), description="a look at the new folder")
        # When a file is put into the new one
        (folder / "new").touch()
        # Then it is noticed
        wait_until(lambda: looks[-1] == {"new"}, description="the new file")
    finally:
        watcher.close()


def test_a_missing_folder_is_told_of_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a folder that goes while it is watched
    log = Mock()
    monkeypatch.setattr("shared.loras.watcher._log", log)
    looks: list[float] = []
    watcher = FolderWatcher(folder, lambda: bool(looks.append(time.monotonic())))
    watcher.start()
    try:
        wait_until(lambda: looks, description="the first look")
        folder.rmdir()
        wait_until(lambda: len(looks) > 6, description="looks at what is not there")
    finally:
        watcher.close()

    assert log.info.call_count == 1


def test_a_folder_that_cannot_be_watched_is_looked_at_now_and_then(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr("shared.loras.watcher.watch", refuse)
    catalog = Catalog(folder, "tiny")
    catalog.watch()
    try:
        write_lora(folder / "new_tiny.safetensors", tiny_specs())
        wait_until(lambda: names(catalog) == {"new_tiny"}, description="the sweep", seconds=20.0)
    finally:
        catalog.close()


def test_closing_ends_the_thread_and_watching_can_begin_again(folder: Path) -> None:
    catalog = Catalog(folder, "tiny")
    for _ in range(2):
        catalog.watch()
        catalog.watch()
        assert [t.name for t in threading.enumerate()].count("lora-watch") == 1
        catalog.close()
        catalog.close()
        assert "lora-watch" not in [thread.name for thread in threading.enumerate()]


def test_callers_never_see_a_half_made_catalogue(catalog: Catalog, folder: Path) -> None:
    """Readers run against a writer that keeps replacing one file by rename."""
    stop = threading.Event()

    def replace() -> None:
        rank = 1
        while not stop.is_set():
            rank = rank % 8 + 1
            upload = write_lora(folder / "upload", tiny_specs(rank=rank))
            upload.replace(folder / "old_tiny.safetensors")
            catalog.scan()

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        seen = {catalog.resolve("old").sha256 for _ in range(20_000)}
    finally:
        stop.set()
        writer.join()
    assert all(len(sha256) == 64 for sha256 in seen)


def test_a_file_that_is_being_replaced_stays_until_the_new_one_is_judged(
    catalog: Catalog, folder: Path
) -> None:
    # Given a LoRA
    catalog.scan()
    before = catalog.resolve("old").sha256
    new = write_lora(folder / "new", tiny_specs(rank=7))
    whole = new.read_bytes()
    # When its file is written anew, half of it first, and looked at meanwhile
    (folder / "old_tiny.safetensors").write_bytes(whole[: len(whole) // 2])
    catalog._refresh(settle_seconds=60.0)
    assert catalog.resolve("old").sha256 == before
    catalog.scan()
    assert catalog.resolve("old").sha256 == before
    # Then the new one takes its place once it is whole
    new.replace(folder / "old_tiny.safetensors")
    catalog._refresh(settle_seconds=60.0)
    assert catalog.resolve("old").sha256 == before
    catalog.scan()
    assert catalog.resolve("old").sha256 != before


def test_a_file_that_stays_half_is_judged_in_the_end(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.scan()
    path = folder / "old_tiny.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    catalog.scan()
    assert catalog.resolve("old")
    monkeypatch.setattr("shared.loras.catalog.GRACE_SECONDS", 0.0)
    catalog.scan()
    with pytest.raises(LoraQuarantined):
        catalog.resolve("old")
