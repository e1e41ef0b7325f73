"""Checkpoint folders with absent parts, other variants and faults, and the engine's trial job."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionPipeline, UNet2DModel
from safetensors.torch import load_file, save_file

from shared.checkpoints.facts import BadCheckpoint
from shared.settings import Settings
from tests.support.checkpoints import make_sd15
from worker.engine.base.base_loading import load_base
from worker.engine.make_engine import make_engine

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd15(tmp_path_factory.mktemp("bases") / "whole")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that the test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "base"))


def test_a_folder_of_half_precision_weights_loads(whole: Path, tmp_path: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(whole, safety_checker=None)
    pipeline.save_pretrained(tmp_path / "halves", variant="fp16", safe_serialization=True)
    assert not (tmp_path / "halves" / "unet" / WEIGHTS).exists()
    assert load_base(str(tmp_path / "halves"), CPU).base.id == "sd15"


def test_parts_that_are_not_needed_may_be_absent_though_the_index_names_them(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    loaded = load_base(str(folder), CPU)
    assert loaded.pipeline.safety_checker is None


def test_weights_that_only_a_pickle_holds_are_read_without_running_it(
    whole: Path, tmp_path: Path
) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(whole, safety_checker=None)
    pipeline.save_pretrained(tmp_path / "old", safe_serialization=False)
    # transformers writes no pickles any more; its part stays as it is.
    assert not (tmp_path / "old" / "unet" / WEIGHTS).exists()
    assert load_base(str(tmp_path / "old"), CPU).base.id == "sd15"


def test_a_needed_part_that_is_absent_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    with pytest.raises(BadCheckpoint, match="vae"):
        load_base(str(folder), CPU)


def test_a_configuration_that_disagrees_with_its_weights_is_told(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text()) | {"block_out_channels": [16, 64]}
    path.write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint, match="cannot be loaded"):
        load_base(str(folder), CPU)


def test_an_id_that_the_hub_does_not_have_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadCheckpoint, match="retouch models pull nobody/nothing"):
        load_base("nobody/nothing", CPU)


def test_a_file_that_is_no_base_is_refused_before_the_libraries_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flux-Q4.gguf").write_bytes(b"GGUF" + bytes(99))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadCheckpoint, match="a GGUF file"):
        make_engine(Settings(base_model=str(tmp_path / "flux-Q4.gguf"), guards="off"))


def spoil(tensor: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tensor, float("nan"))


def test_a_pipeline_that_takes_no_photo_is_refused_and_not_served_from_words(
    tmp_path: Path,
) -> None:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(BadCheckpoint, match="takes no photo"):
        load_base(str(tmp_path), CPU)


@pytest.mark.parametrize(
    ("part", "layer", "change"),
    [
        ("vae", "decoder.conv_out", spoil),
        ("vae", "decoder.conv_out", torch.zeros_like),
        ("vae", "encoder.conv_in", spoil),
        ("unet", "conv_in", spoil),
    ],
)
def test_a_base_that_makes_no_picture_is_known_before_anybodys_job(
    folder: Path, part: str, layer: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    # Given a layer that was spoiled on the way
    path = folder / part / WEIGHTS
    weights = load_file(path)
    spoilt = {name: change(w) for name, w in weights.items() if name.startswith(layer)}
    save_file(weights | spoilt, path)
    # Then the engine does not start
    with pytest.raises(BadCheckpoint, match="one flat colour"):
        make_engine(Settings(base_model=str(folder), guards="off"))
