"""Folders through the running service: `retouch enhance DIR -r -o OUT` and `retouch watch`."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.faces.conftest import KEYS
from tests.support.pictures import photo
from tests.support.stack import RETOUCH, RunningUp, clean_environment
from tests.support.wait import wait_until

OLD = 1_600_000_000


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photos in a tree: names that meet, one content twice, one that is no picture."""
    folder = tmp_path / "in"
    (folder / "trip" / "day 1").mkdir(parents=True)
    for number in range(6):
        (folder / "trip" / f"{number}.png").write_bytes(photo(64 + number, 48, "PNG"))
    (folder / "me.jpg").write_bytes(photo(70, 70))
    (folder / "me.png").write_bytes(photo(71, 70, "PNG"))
    (folder / "trip" / "day 1" / "again.jpg").write_bytes(photo(70, 70))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no photo")
    for path in folder.rglob("*.*"):
        os.utime(path, (OLD, OLD))
    return folder


def command(up: RunningUp, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [RETOUCH, *arguments],
        env=clean_environment(folder, {"url": up.url, "api_key": KEYS["ada"]}),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def enhance(up: RunningUp, album: Path, *more: str) -> tuple[int, str]:
    arguments = ["enhance", str(album), "-r", "-o", str(album.parent / "out"), "-l", "none"]
    with command(up, album.parent, *arguments, *more) as process:
        said, _ = process.communicate(timeout=100)
    return process.returncode, said


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def jobs(ada: httpx2.Client) -> set[str]:
    items = ada.get("/v1/jobs", params={"limit": 100}).json()["items"]
    return {job["id"] for job in items}


def test_a_folder_keeps_its_tree_names_and_times_and_is_done_once(
    up: RunningUp, album: Path, ada: httpx2.Client
) -> None:
    originals, before = hashes(album), jobs(ada)

    code, said = enhance(up, album)
    again_code, again = enhance(up, album)

    assert (code, again_code) == (1, 1)  # one is no picture
    assert "9 done, 0 done before, 1 failed" in said
    assert "0 done, 10 done before, 0 failed" in again
    assert "broken.png" in again
    out = album.parent / "out"
    names = set(hashes(out))
    assert {f"trip/{number}.png" for number in range(6)} | {"trip/day 1/again.jpg"} <= names
    assert {"me.jpg", "me.png"} <= names
    assert len(names) == 9
    assert all((out / name).stat().st_mtime == OLD for name in names)
    assert hashes(album) == originals
    assert len(jobs(ada) - before) <= 9
    with Image.open(out / "trip" / "0.png") as image:
        assert image.width * 48 == image.height * 64


def test_failed_photos_are_tried_again_on_request(up: RunningUp, album: Path) -> None:
    enhance(up, album)
    (album / "broken.png").write_bytes(photo(40, 40, "PNG"))

    code, said = enhance(up, album, "--retry-failed")

    assert (code, "1 done, 9 done before, 0 failed" in said) == (0, True), said


def test_a_run_that_is_killed_twice_does_each_photo_once(
    up: RunningUp, tmp_path: Path, ada: httpx2.Client
) -> None:
    album = tmp_path / "in"
    album.mkdir()
    for number in range(30):
        (album / f"{number:02}.png").write_bytes(photo(40 + number, 40, "PNG"))
    originals, before = hashes(album), jobs(ada)
    journal = tmp_path / "out" / ".retouch.jsonl"

    def lines() -> list[str]:
        return journal.read_text().splitlines() if journal.exists() else []

    for enough in (3, 12):
        arguments = ["enhance", str(album), "-r", "-o", str(tmp_path / "out"), "-l", "none"]
        with command(up, tmp_path, *arguments) as process:

            def has_done_some(some: int = enough) -> bool:
                return len(lines()) >= some

            wait_until(has_done_some, description="some photos to be done", seconds=60)
            process.send_signal(signal.SIGKILL)
    code, said = enhance(up, album)

    assert code == 0, said
    assert len(hashes(tmp_path / "out")) == 30
    done = [json.loads(line)["photo"] for line in lines() if line]
    assert len(done) == len(set(done)) == 30
    assert len(jobs(ada) - before) <= 30
    assert hashes(album) == originals


def test_a_run_that_was_stopped_goes_on_where_it_was(up: RunningUp, tmp_path: Path) -> None:
    album = tmp_path / "in"
    album.mkdir()
    for number in range(12):
        (album / f"{number:02}.png").write_bytes(photo(40 + number, 44, "PNG"))
    slow = ["--steps", "15", "--strength", "1"]
    arguments = ["enhance", str(album), "-r", "-o", str(tmp_path / "out"), "-l", "none", *slow]
    with command(up, tmp_path, *arguments) as process:
        wait_until(lambda: hashes(tmp_path / "out"), description="a picture", seconds=60)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130

    code, said = enhance(up, album, *slow)

    assert code == 0, said
    assert len(hashes(tmp_path / "out")) == 12


def test_the_photos_own_folder_is_refused_as_the_output(up: RunningUp, album: Path) -> None:
    with command(up, album.parent, "enhance", str(album), "-r", "-o", str(album)) as process:
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "another folder" in said


@contextmanager
def watching(up: RunningUp, folder: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = ["watch", str(folder / "in"), str(folder / "out"), "-l", "none"]
    with command(up, folder, *arguments) as process:
        yield process
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_a_watched_folder_waits_for_files_that_are_still_being_copied(
    up: RunningUp, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    data = photo(64, 48, "PNG")
    with watching(up, tmp_path) as process:
        with (tmp_path / "in" / "slow.png").open("wb") as file:
            for at in range(0, len(data), max(1, len(data) // 3)):
                file.write(data[at : at + max(1, len(data) // 3)])
                file.flush()
        (tmp_path / "in" / "quick.png").write_bytes(photo(50, 50, "PNG"))
        wait_until(
            lambda: set(hashes(tmp_path / "out")) == {"slow.png", "quick.png"},
            description="both pictures",
            seconds=60,
        )
        assert process.poll() is None
    assert process.returncode == 130
    assert '"error": "' not in (tmp_path / "out" / ".retouch.jsonl").read_text()
