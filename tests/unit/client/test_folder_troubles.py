"""A folder's run on a full disk, with photos that cannot be read, and with names that meet."""

import errno
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from retouch import folders
from retouch.cli import app
from tests.unit.client.scripted_server import ScriptedServer
from tests.unit.client.test_cli import PHOTO, PICTURE, finished, script

KEY = "idempotency-key"


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(PHOTO + bytes([number]))
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(server: ScriptedServer) -> Result:
        monkeypatch.setenv("RETOUCH_URL", server.url)
        return CliRunner().invoke(app, ["enhance", "in", "-r", "-o", "out"])

    return run


def pictures() -> list[str]:
    return sorted(path.name for path in Path("out").iterdir() if not path.name.startswith("."))


def keys(server: ScriptedServer) -> set[str]:
    return {sent.headers[KEY] for sent in server.requests("POST /v1/jobs")}


def test_a_full_disk_is_said_and_the_next_run_asks_for_no_second_job(
    album: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with ScriptedServer(script()).running() as server:
        with monkeypatch.context() as changed:
            changed.setattr(folders, "write_whole", full)
            first = run(server)
        before = keys(server)
        left = pictures()
        again = run(server)
        after = keys(server)

    assert first.exit_code == 1
    assert "No space left on device" in first.stderr
    assert left == []
    assert again.exit_code == 0, again.stderr
    assert pictures() == ["0.png", "1.png", "2.png"]
    assert after == before
    assert len(before) == len(list(album.iterdir()))


def test_a_photo_that_cannot_be_read_does_not_stop_the_others(
    album: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "1.png" and path.parent == album.relative_to(Path.cwd()):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    with ScriptedServer(script()).running() as server:
        result = run(server)

    assert result.exit_code == 1
    assert "1.png: Permission denied" in result.stderr
    assert pictures() == ["0.png", "2.png"]


def test_names_that_meet_get_a_picture_each(album: Path, run: Any) -> None:
    for name in ("0.jpg", "0.PNG", "0.tiff"):
        (album / name).write_bytes(PHOTO + name.encode())
    with ScriptedServer(script()).running() as server:
        result = run(server)

    assert result.exit_code == 0, result.stderr
    made = pictures()
    assert len(made) == len({name.casefold() for name in made}) == 6
    assert all(Path("out", name).read_bytes() == PICTURE for name in made)


def test_each_photo_of_a_folder_is_told_with_its_sizes_as_soon_as_it_is_done(
    album: Path, run: Any
) -> None:
    (album / "1.png").write_bytes((album / "0.png").read_bytes())
    with ScriptedServer(finished("png", "smaller_side")).running() as server:
        result = run(server)

    assert result.exit_code == 0, result.stderr
    lines = result.stderr.splitlines()
    assert any(line.startswith("2.png: 16 x 12") and "smaller_side" in line for line in lines)
    assert len([line for line in lines if ".png: " in line]) == 3
    assert "The pictures are in out." in lines
