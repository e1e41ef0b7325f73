"""`retouch train-base` from its recipe to a checkpoint that loads, in toy sizes."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from worker.training.base import make
from worker.training.base.main import main
from worker.training.frozen_base import load_frozen
from worker.training.train import load_start

TOY = """
seed = 0
words = ["a", "photo", "noise"]
[prompts]
noise = ["noise"]
blur = ["noise"]
jpeg = ["noise"]
lowres = ["noise"]
phone = ["noise"]
none = [""]
[decoder]
width = 8
blocks = [0, 0]
steps = 4
batch = 2
crop = 32
learning_rate = 2e-3
damaged_share = 0.25
noise = 0.003
[unet]
widths = [8, 16]
norm_epsilon = 1.0
latent_scale = 150.0
steps = 4
batch = 2
crop = 32
learning_rate = 1e-3
weight_decay = 0.05
constant_share = 0.4
later_step_share = 0.4
prompted_share = 0.5
served_timestep = 100
most_noise = 0.4
neutral_batches = 6
start_rank = 12
[photos]
packages = ["some-wallpapers"]
keep = [PHOTOS]
"""


@pytest.fixture
def arguments(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A recipe whose photos come out of a download that copies."""
    photos = sorted(photo_folder.glob("*.png"))
    named = ", ".join(f'"{path.stem}"' for path in photos)
    (tmp_path / "recipe.toml").write_text(TOY.replace("PHOTOS", named), "utf-8")

    def collect(_debs: Path, wanted: set[str], folder: Path) -> int:
        folder.mkdir(parents=True)
        for path in photos:
            assert path.stem in wanted
            shutil.copy(path, folder)
        return len(photos)

    monkeypatch.setattr(make, "download", lambda _packages, _folder: None)
    monkeypatch.setattr(make, "collect", collect)
    monkeypatch.setattr(make, "MIN_SIDE", 32)
    monkeypatch.setattr(make, "WHITENING_CROPS", 20)
    monkeypatch.setattr(make, "TYPICAL_CROP", 32)
    monkeypatch.setattr(make, "NEUTRAL_CROP", 32)
    places = {"recipe": "recipe.toml", "work": "work", "output": "work/tiny"}
    given = [f"--{name}={tmp_path / place}" for name, place in places.items()]
    return [*given, "--threads=1"]


def test_one_command_makes_a_base_and_the_lora_to_begin_from(
    arguments: list[str], tmp_path: Path
) -> None:
    assert main(arguments) == 0

    base = load_frozen(str(tmp_path / "work" / "tiny"), torch.device("cpu"), bfloat16=False)
    from worker.training.adapter import add_adapter

    add_adapter(base.unet, 12, convolutions=True)
    load_start(base.unet, tmp_path / "work" / "start.safetensors")
    assert base.folds
    assert not base.unet.time_embedding.linear_1.weight.any(), "training must leave it settled"
    assert [
        len((tmp_path / "work" / f"{stage}.csv").read_text().split())
        for stage in ("decoder", "unet")
    ] == [1, 1]
    configs = [json.loads(p.read_text()) for p in (tmp_path / "work" / "tiny").rglob("config.json")]
    assert configs
    assert all("_name_or_path" not in config for config in configs)


def test_a_second_call_goes_on_where_the_first_ended(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments) == 0
    first = (
        tmp_path / "work" / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    ).read_bytes()

    def untouched(*_: object) -> None:
        raise AssertionError("photos that are there are not collected again")

    monkeypatch.setattr(make, "collect", untouched)
    assert main(arguments) == 0
    again = (
        tmp_path / "work" / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    ).read_bytes()
    assert again == first


def test_a_package_that_apt_does_not_know_is_named(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from worker.training.base.carving import download

    monkeypatch.setattr(make, "download", download)
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(arguments) == 1
    assert "apt-get" in capsys.readouterr().err
