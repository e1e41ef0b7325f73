"""Checkpoints in one file: their configuration from shapes, their weights, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.published import published_configs
from tests.support.published_networks import on_meta
from tests.support.single_files import names_and_shapes, sd15_file, small_unet
from worker.engine.base.base_loading import load_base
from worker.engine.base.clip_tokenizer import VOCABULARY, write_tokenizer
from worker.engine.base.single_file import load_single_file
from worker.engine.base.single_file_layout import configurations


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_the_shapes_of_a_real_checkpoint_give_the_configuration_that_its_family_publishes(
    family: str,
) -> None:
    shapes = names_and_shapes(on_meta(family), family)
    found, expected = configurations(family, shapes), published_configs(family)
    for part, config in expected.items():
        for key, value in config.items():
            if key in ("projection_dim",) and family == "sd21":
                continue  # SD 2.x does not use it
            assert widened(part, key, found[part][key]) == widened(part, key, value), (part, key)


def widened(part: str, key: str, value: Any) -> Any:
    """A level without transformers has none of any depth."""
    return value[1:] if (part, key) == ("unet", "transformer_layers_per_block") else value


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd15_file(tmp_path_factory.mktemp("files") / "dreams v8 (final).safetensors")


def test_a_single_file_loads_with_its_own_weights_and_asks_no_hub(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pipeline = load_single_file(
        checkpoint, StableDiffusionImg2ImgPipeline, {"torch_dtype": torch.float32}
    )
    expected = small_unet(768, attention_head_dim=8).state_dict()
    loaded = pipeline.unet.state_dict()
    assert loaded.keys() == expected.keys()
    for name, value in loaded.items():
        torch.testing.assert_close(value, expected[name].half().float())


def test_the_same_as_ckpt_is_loaded_as_its_family(tmp_path: Path) -> None:
    loaded = load_base(str(sd15_file(tmp_path / "dreams.ckpt")), torch.device("cpu"))
    assert loaded.base.id == "sd15"
    expected = small_unet(768, attention_head_dim=8).state_dict()["conv_in.weight"]
    torch.testing.assert_close(loaded.pipeline.unet.conv_in.weight, expected.half().float())


def test_a_network_without_one_of_its_layers_is_refused_and_the_layer_named(tmp_path: Path) -> None:
    whole = sd15_file(tmp_path / "whole.safetensors")
    lost = "model.diffusion_model.input_blocks.1.0.out_layers.3.weight"
    save_file(
        {k: w for k, w in load_file(whole).items() if k != lost}, tmp_path / "odd.safetensors"
    )
    with pytest.raises(BadCheckpoint, match=re.escape(lost)):
        load_base(str(tmp_path / "odd.safetensors"), torch.device("cpu"))


def test_a_network_of_another_build_is_refused_and_not_loaded_in_part(tmp_path: Path) -> None:
    more = {"model.diffusion_model.middle_block.3.weight": torch.zeros(8)}
    odd = sd15_file(tmp_path / "odd.safetensors", more)
    with pytest.raises(BadCheckpoint, match="another build"):
        load_single_file(odd, StableDiffusionImg2ImgPipeline, {"torch_dtype": torch.float32})


def test_a_pickle_with_code_in_it_runs_none_of_it(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"state_dict": Harm()}, tmp_path / "bad.ckpt")
    with pytest.raises(BadCheckpoint, match="without running code"):
        load_single_file(tmp_path / "bad.ckpt", StableDiffusionImg2ImgPipeline, {})
    assert not (tmp_path / "harm").exists()


def test_the_tokenizer_is_clips(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer", "<|endoftext|>")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    # Ids as openai/clip-vit-large-patch14 publishes them: "a photo of a cat".
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(tokenizer) == VOCABULARY
