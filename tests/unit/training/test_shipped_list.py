"""The list of LoRAs that ship: the very files, and nothing that only has their names."""

import json
import shutil
from pathlib import Path

from shared.loras.shipped import SHIPPED, is_shipped
from shared.settings import REPOSITORY
from worker.training.shipped import digests

FOLDER = REPOSITORY / "loras"


def test_the_list_names_the_files_of_the_repository() -> None:
    listed = json.loads(SHIPPED.read_text("utf-8"))
    assert listed == digests(FOLDER), "after new weights: python -m worker.training.shipped"
    assert len(listed) >= 6
    assert all(is_shipped(sha256) for sha256 in listed.values())


def test_another_file_under_a_shipped_name_does_not_ship(tmp_path: Path) -> None:
    for suffix in (".safetensors", ".toml"):
        shutil.copy(FOLDER / f"denoise_tiny{suffix}", tmp_path)
    with (tmp_path / "denoise_tiny.safetensors").open("ab") as file:
        file.write(b" ")
    (sha256,) = digests(tmp_path).values()
    assert not is_shipped(sha256)
    assert not is_shipped(None)


def test_a_file_of_somebody_elses_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "mine_tiny.safetensors").write_bytes(b"x")
    (tmp_path / "other_tiny.safetensors").write_bytes(b"x")
    (tmp_path / "other_tiny.toml").write_text('source = "my own photos"')
    assert digests(tmp_path) == {}
