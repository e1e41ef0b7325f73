"""Between check and load: only the bytes that were checked are ever handed out."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import LoraChanged
from shared.loras.check import check_file
from shared.loras.checked_read import read_checked
from tests.unit.loras.lora_files import tiny_specs, write_lora, write_raw


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_lora(tmp_path / "a_tiny.safetensors", tiny_specs())


def test_an_unchanged_file_is_read_whole(path: Path) -> None:
    assert read_checked(check_file(path)) == path.read_bytes()


def test_a_touched_or_moved_file_with_the_same_bytes_is_still_the_same(path: Path) -> None:
    entry = check_file(path)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())

    copy.replace(path)
    os.utime(path, (time.time() + 5, time.time() + 5))

    assert read_checked(entry) == path.read_bytes()


def _replace(path: Path) -> None:
    write_lora(path, tiny_specs(rank=8))


def _change_one_byte_and_set_the_time_back(path: Path) -> None:
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _truncate(path: Path) -> None:
    os.truncate(path, 10)


def _link_elsewhere(path: Path) -> None:
    target = path.with_name("other")
    path.rename(target)
    path.symlink_to(target)


def _make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _pickle(path: Path) -> None:
    write_raw(path, b"\x80\x04")


@pytest.mark.parametrize(
    "swap",
    [
        _replace,
        _change_one_byte_and_set_the_time_back,
        _truncate,
        Path.unlink,
        _link_elsewhere,
        _make_a_pipe,
        _pickle,
    ],
)
def test_a_file_swapped_between_check_and_load_is_refused(
    path: Path, swap: Callable[[Path], None]
) -> None:
    entry = check_file(path)

    swap(path)

    with pytest.raises(LoraChanged, match="'a_tiny'"):
        read_checked(entry)
