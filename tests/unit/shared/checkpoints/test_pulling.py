"""Fetching checkpoints from a hub, and telling which are here."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.inventory import inventory
from shared.checkpoints.places import cached_snapshot
from shared.checkpoints.pulling import choose_files, pull
from tests.support.hub import Hub, running_hub

LAYOUT = {
    "README.md": b"words",
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline", "unet": ["a", "b"]}',
    "unet/config.json": b'{"cross_attention_dim": 768, "in_channels": 4}',
    "unet/diffusion_pytorch_model.safetensors": b"w" * 2000,
    "unet/diffusion_pytorch_model.fp16.safetensors": b"h" * 1000,
    "unet/diffusion_pytorch_model.bin": b"b" * 2000,
    "safety_checker/model.safetensors": b"s" * 2000,
    "v1-5-pruned.safetensors": b"p" * 4000,
}


class Terminal:
    """Runs `retouch models` against a stand-in for the hub, each call a process of its own."""

    def __init__(self, hub: Hub, cache: Path) -> None:
        self.hub = hub
        self.cache = cache

    def __call__(self, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
        surroundings = os.environ | {
            "HF_ENDPOINT": url or self.hub.url,
            "HF_HUB_CACHE": str(self.cache),
            "HF_HUB_DISABLE_XET": "1",
        }
        command = [sys.executable, "-c", "from retouch.cli import main; main()", "models"]
        return subprocess.run(
            [*command, *arguments], env=surroundings, capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with running_hub({"some/base": LAYOUT, "some/file": {"dreams_v8.safetensors": b"d"}}) as hub:
        yield Terminal(hub, tmp_path / "cache")


@pytest.mark.parametrize(
    ("precision", "weights"),
    [
        ("fp16", "unet/diffusion_pytorch_model.fp16.safetensors"),
        ("fp32", "unet/diffusion_pytorch_model.safetensors"),
    ],
)
def test_of_a_repository_only_what_a_worker_reads_is_chosen(precision: str, weights: str) -> None:
    chosen = choose_files(LAYOUT, precision)
    assert sorted(chosen) == sorted(["model_index.json", "unet/config.json", weights])


def test_a_download_that_breaks_off_goes_on_and_is_whole(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal.hub.cut_after = 500
    done = terminal("pull", "some/base")
    assert done.stdout.strip() == "RETOUCH_BASE_MODEL=some/base", done.stderr
    monkeypatch.setenv("HF_HUB_CACHE", str(terminal.cache))
    snapshot = cached_snapshot("some/base")
    assert snapshot is not None
    weights = "unet/diffusion_pytorch_model.fp16.safetensors"
    assert (snapshot / weights).read_bytes() == LAYOUT[weights]
    # And it is among what is here
    held = [(each.name, each.family) for each in inventory(tmp_path / "none")]
    assert held == [("some/base", "sd15")]


def test_an_id_that_does_not_exist_is_told_from_a_hub_that_is_away(terminal: Terminal) -> None:
    unknown = terminal("pull", "nobody/nothing")
    away = terminal("pull", "some/base", url="http://127.0.0.1:9")
    assert (unknown.returncode, away.returncode) == (1, 1)
    assert "Check the name" in unknown.stderr
    assert "cannot be reached" in away.stderr


def test_a_file_that_is_no_checkpoint_is_fetched_and_told(terminal: Terminal) -> None:
    done = terminal("pull", "some/file")
    assert done.returncode == 1
    assert "no safetensors file" in done.stderr


def test_a_full_disk_says_that_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_room)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda *_: list(LAYOUT))
    with pytest.raises(BadCheckpoint, match="the disk is full"):
        pull("some/base")
