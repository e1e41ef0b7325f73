"""Checkpoint folders whose transformer is a GGUF file: served, and what is refused in words."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from gguf import GGMLQuantizationType

from shared.bases import identify_base
from shared.checkpoints import gguf as header
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.inventory import inventory
from shared.checkpoints.judgement import check_checkpoint
from shared.settings import Settings
from tests.support.engine_jobs import CPU, make_job, psnr, run_all
from tests.support.gguf_files import F16, Q4_0, Q8_0, sd3_names, take_weights, write_gguf
from tests.support.transformer_checkpoints import make_flux, make_sd3, make_transformer_lora
from worker.engine.base.base_loading import load_base
from worker.engine.base.gguf_loading import is_gguf, load_gguf
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.memory_plan import size_of
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.engine_choice import warm_engine
from worker.engine.interface import EngineJob, Pixels

Weights = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd3(tmp_path_factory.mktemp("sd3") / "base")


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_flux(tmp_path_factory.mktemp("flux") / "base")


@pytest.fixture
def emptied(sd3: Path, tmp_path: Path) -> tuple[Path, Weights]:
    """SD 3's folder without the transformer's weights, and these."""
    folder = Path(shutil.copytree(sd3, tmp_path / "my-sd3"))
    return folder, take_weights(folder)


def pictures(loaded: LoadedBase, jobs: list[EngineJob], settings: Settings) -> list[Pixels]:
    engine = warm_engine(loaded, settings)
    try:
        return [run_all(engine, [job])[0].pixels for job in jobs]
    finally:
        engine.close()


@pytest.mark.parametrize(("kind", "least"), [(Q8_0, 55), (Q4_0, 36)])
def test_sd3_in_the_originals_names_makes_the_pictures_of_its_unquantised_weights(
    kind: GGMLQuantizationType,
    least: float,
    sd3: Path,
    emptied: tuple[Path, Weights],
    settings: Settings,
) -> None:
    # Given SD 3's folder with a GGUF file in transformer/, and a LoRA strong enough to be seen
    folder, weights = emptied
    write_gguf(folder / "transformer" / "sd3-Q.gguf", sd3_names(weights), kind)
    lora = make_transformer_lora(sd3, folder.parent)
    jobs = [make_job(strength=1.0, steps=2, loras=own) for own in ((), ((lora, 30.0),), ())]
    # When both are served
    whole, packed = load_base(str(sd3), CPU), load_base(str(folder), CPU)
    exact = pictures(whole, jobs, settings)
    made = pictures(packed, jobs, settings)
    # Then the pictures are the same, with and without the LoRA, which leaves no trace
    assert packed.base.id == "sd3"
    for one, other in zip(exact, made, strict=True):
        assert psnr(one, other) >= least
    assert psnr(made[0], made[1]) < 35
    np.testing.assert_array_equal(made[0], made[2])


def test_a_file_beside_the_parts_is_read_and_its_weights_stay_packed(
    flux: Path, tmp_path: Path, settings: Settings
) -> None:
    folder = Path(shutil.copytree(flux, tmp_path / "base"))
    write_gguf(folder / "flux1-Q8_0.gguf", take_weights(folder), Q8_0)
    whole, packed = load_base(str(flux), CPU), load_base(str(folder), CPU, quantize="int8")
    network = packed.pipeline.transformer
    assert is_gguf(network)
    assert size_of(network) < 0.4 * size_of(whole.pipeline.transformer)
    assert packed.fingerprint == load_base(str(folder), CPU).fingerprint != whole.fingerprint
    job = [make_job(strength=1.0, steps=2)]
    assert psnr(*pictures(whole, job, settings), *pictures(packed, job, settings)) >= 50


def test_qwen_images_transformer_computes_with_packed_weights(tmp_path: Path) -> None:
    exact = QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=1,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(8, 12, 12),
    )
    exact.save_pretrained(tmp_path / "transformer")
    file = write_gguf(tmp_path / "qwen-Q8_0.gguf", take_weights(tmp_path), Q8_0)
    packed = load_gguf(tmp_path, file, torch.float32)
    inputs = {
        "hidden_states": torch.ones(1, 16, 64).cumsum(2) / 64,
        "encoder_hidden_states": torch.ones(1, 5, 32),
        "encoder_hidden_states_mask": torch.ones(1, 5),
        "timestep": torch.tensor([0.5]),
        "img_shapes": [[(1, 4, 4)]],
    }
    with torch.inference_mode():
        one, other = (network(**inputs)[0] for network in (exact, packed))
    assert is_gguf(packed)
    assert 10 * torch.log10(one.var() / (one - other).square().mean()) > 30


def test_packed_weights_stay_on_the_device_where_all_else_moves_by_layers(
    emptied: tuple[Path, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, weights = emptied
    write_gguf(folder / "transformer" / "sd3.gguf", sd3_names(weights), Q8_0)
    loaded = load_base(str(folder), CPU)
    object.__setattr__(loaded, "profile", "sequential_offload")
    calls: list[list[str]] = []
    monkeypatch.setattr(
        type(loaded.pipeline),
        "enable_sequential_cpu_offload",
        lambda pipeline, **_: calls.append(pipeline._exclude_from_cpu_offload),
    )
    DiffusersEngine(loaded, 1).close()
    assert calls == [["transformer"]]


def test_a_whole_checkpoint_with_a_gguf_file_beside_it_is_read_as_before(
    sd3: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sd3, tmp_path / "base"))
    (folder / "other.gguf").write_bytes(b"GGUF")
    assert not is_gguf(load_base(str(folder), CPU).pipeline.transformer)


def two_files(folder: Path, weights: Weights) -> None:
    for place in (folder, folder / "transformer"):
        write_gguf(place / "one.gguf", sd3_names(weights), Q8_0)


def truncated(folder: Path, weights: Weights) -> None:
    path = write_gguf(folder / "one.gguf", sd3_names(weights), Q8_0)
    path.write_bytes(path.read_bytes()[:-1000])


def without_header(folder: Path, weights: Weights) -> None:
    path = write_gguf(folder / "one.gguf", sd3_names(weights), Q8_0)
    path.write_bytes(path.read_bytes()[:300])


def of_flux(folder: Path, _weights: Weights) -> None:
    write_gguf(folder / "one.gguf", {"double_blocks.0.img_attn.qkv.weight": torch.ones(2, 32)}, F16)


def no_gguf(folder: Path, _weights: Weights) -> None:
    (folder / "one.gguf").write_bytes(b"<!doctype html>" + bytes(99))


def unread_type(folder: Path, _weights: Weights) -> None:
    path = write_gguf(folder / "one.gguf", {"joint_blocks.0.x": torch.ones(2, 32)}, F16)
    # The type's number stands before the offset of 8 bytes, after two sides.
    data = path.read_bytes()
    at = data.index(b"joint_blocks.0.x") + len("joint_blocks.0.x") + 4 + 2 * 8
    path.write_bytes(data[:at] + (19).to_bytes(4, "little") + data[at + 4 :])


def without_config(folder: Path, weights: Weights) -> None:
    write_gguf(folder / "one.gguf", sd3_names(weights), Q8_0)
    (folder / "transformer" / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (two_files, "several GGUF files"),
        (truncated, r"one\.gguf' is incomplete: [\d,]+ of [\d,]+ bytes"),
        (without_header, r"one\.gguf' is incomplete or damaged"),
        (of_flux, r"for SD3Transformer2DModel, and its 'one\.gguf' is a FLUX network"),
        (no_gguf, "is no GGUF file"),
        (unread_type, r"a type \(number 19\) that diffusers does not read"),
        (without_config, r"without transformer/config\.json"),
    ],
)
def test_a_file_that_cannot_be_served_is_refused_before_it_is_loaded(
    spoil: Callable[[Path, Weights], None], words: str, emptied: tuple[Path, Weights]
) -> None:
    folder, weights = emptied
    spoil(folder, weights)
    with pytest.raises(BadCheckpoint, match=words):
        check_checkpoint(str(folder))
    # Its family is known all the same, and the list of models tells the reason.
    assert identify_base(str(folder)).id == "sd3"
    assert [bool(held.complaint) for held in inventory(folder.parent)] == [True]


def test_without_the_package_the_command_that_installs_it_is_told(
    emptied: tuple[Path, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, weights = emptied
    write_gguf(folder / "one.gguf", sd3_names(weights), Q8_0)
    assert check_checkpoint(str(folder))
    monkeypatch.setattr(header, "find_spec", lambda _name: None)
    with pytest.raises(BadCheckpoint, match=r"pip install 'retouch\[gguf\]'"):
        check_checkpoint(str(folder))


def test_a_unet_in_a_gguf_file_is_refused_with_what_to_use(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXL"}))
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "sdxl-Q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadCheckpoint, match=r"only transformers .* RETOUCH_QUANTIZE=int8"):
        check_checkpoint(str(tmp_path))


@pytest.mark.parametrize("lost", ["joint_blocks.0.x_block.mlp.fc1.weight", "pos_embed"])
def test_a_network_of_another_build_is_refused_when_it_is_loaded(
    lost: str, emptied: tuple[Path, Weights]
) -> None:
    folder, weights = emptied
    named = sd3_names(weights)
    named.pop(lost)
    write_gguf(folder / "one.gguf", named, Q8_0)
    with pytest.raises(BadCheckpoint, match=r"one\.gguf' does not fit"):
        load_base(str(folder), CPU)


def test_a_file_without_weights_that_the_configuration_asks_for_is_refused(
    emptied: tuple[Path, Weights],
) -> None:
    folder, weights = emptied
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"qk_norm": "rms_norm"}))
    write_gguf(folder / "one.gguf", sd3_names(weights), Q8_0)
    with pytest.raises(BadCheckpoint, match=r"not of the network .* weights are missing"):
        load_base(str(folder), CPU)


def test_a_file_alone_says_where_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "flux1-dev-Q4_K_S.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadCheckpoint, match=r"into transformer/ .*retouch\[gguf\]"):
        check_checkpoint(str(tmp_path / "flux1-dev-Q4_K_S.gguf"))
