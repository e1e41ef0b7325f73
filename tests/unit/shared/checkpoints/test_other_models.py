"""Files that people name as a base by mistake: each is called what it is, with what to do."""

import json
from pathlib import Path

import pytest
import torch

from shared.bases import SD15, identify_base
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.inventory import inventory
from shared.checkpoints.judgement import check_checkpoint
from shared.checkpoints.other_models import _KNOWN
from shared.loras.reasons import Finding, Reason
from tests.unit.shared.checkpoints.test_judgement import UNET, WHOLE, write_folder, write_header

GGUF = b"GGUF\x03\x00\x00\x00" + bytes(100)
ATTENTION = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
# One or two names of each published file, and a word that says what it is.
OTHERS = {
    "control_model.input_hint_block.0.weight": "ControlNet",
    "controlnet_cond_embedding.conv_in.weight": "ControlNet",
    "adapter.body.0.in_conv.weight": "T2I adapter",
    "ip_adapter.1.to_k_ip.weight": "IP adapter",
    "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight": "motion module",
    "emb_params": "textual inversion",
    "conv_first.weight": "enlarger",
    "double_blocks.0.img_attn.qkv.weight": "FLUX",
    "single_transformer_blocks.0.attn.to_q.weight": "FLUX",
    "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": "SD 3",
    "transformer_blocks.0.attn.add_q_proj.weight": "SD 3",
    "transformer_blocks.0.img_mlp.net.0.proj.weight": "Qwen-Image",
    "blocks.0.cross_attn.q_linear.weight": "PixArt",
    "adaln_single.linear.weight": "PixArt",
    "blocks.0.mlp.inverted_conv.conv.weight": "Sana",
    "model.diffusion_model.clip_txt_mapper.weight": "Stable Cascade",
    "decoder.conv_in.weight": "autoencoder",
    "first_stage_model.encoder.conv_in.weight": "autoencoder",
    "1.weight": "autoencoder",
    "text_model.embeddings.token_embedding.weight": "text encoder",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "text encoder",
    "vision_model.embeddings.class_embedding": "image encoder",
    "down_blocks.0.attentions.0.proj_in.weight": "a UNet alone",
    "model.diffusion_model.input_blocks.0.0.weight": "a UNet alone",
    "double_blocks.0.qkv.weight.quant_state.bitsandbytes__nf4": "four bits",
    "something.of.its.own": "no checkpoint that is known here",
}


def complaint(base_model: Path) -> str:
    with pytest.raises(BadCheckpoint) as caught:
        check_checkpoint(str(base_model))
    return str(caught.value)


@pytest.mark.parametrize(("name", "words"), OTHERS.items())
def test_a_file_that_is_no_base_is_called_what_it_is_with_what_to_do(
    tmp_path: Path, name: str, words: str
) -> None:
    said = complaint(write_header(tmp_path / "model.safetensors", {name: [4, 4]}))
    assert words in said
    assert said.startswith("'model.safetensors' is ")
    assert "cannot be found in it" not in said


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"control_model.input_hint_block.0.weight": [4]}, "ControlNet"),
        ({UNET + "input_blocks.1.0.time_stack.emb.weight": [4]}, "video"),
        ({UNET + "out.2.scale_weight": [1]}, "scaled fp8"),
        ({ATTENTION: [32, 1280]}, "the SDXL refiner"),
        ({ATTENTION: [32, 640]}, "of a family that is not served from one file"),
    ],
)
def test_a_file_with_all_parts_may_still_be_another_model(
    tmp_path: Path, extra: dict[str, list[int]], words: str
) -> None:
    assert words in complaint(write_header(tmp_path / "model.safetensors", WHOLE | extra))


def test_a_checkpoint_with_tensors_of_its_trainer_stays_a_checkpoint(tmp_path: Path) -> None:
    beside = {"model_ema.decay": [1], "emb_params": [4, 768], "text_model.x": [4], "1.weight": [4]}
    assert check_checkpoint(str(write_header(tmp_path / "m.safetensors", WHOLE | beside)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flux1-dev-Q4_K_S.gguf", "GGUF file"),
        ("unet.onnx", "ONNX"),
        ("unet.engine", "retouch build-engine"),
        ("unet.plan", "TensorRT"),
        ("model.bin", "rename it to end in .ckpt"),
        ("model.PTH", "rename it to end in .ckpt"),
        ("model.zip", "Unpack it"),
        ("model.msgpack", "Flax"),
        ("model.txt", "is not a checkpoint that can be read"),
    ],
)
def test_a_file_of_another_format_is_named_by_its_ending(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / name).write_bytes(b"?" * 100)
    assert words in complaint(tmp_path / name)
    with pytest.raises(BadCheckpoint, match="there is no"):
        check_checkpoint(str(tmp_path / "absent" / name))


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GGUF, "GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"", "is empty"),
        (b"\x08\x07\x12\x07pytorch" + bytes(99), "is no "),
    ],
)
def test_what_stands_in_for_a_download_is_named_by_its_first_bytes(
    tmp_path: Path, suffix: str, content: bytes, words: str
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    assert words in complaint(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_ckpt_tells_its_family_without_torch(tmp_path: Path, legacy: bool, wrapped: bool) -> None:
    tensors = {name: torch.zeros(shape) for name, shape in WHOLE.items()}
    path = tmp_path / "model.ckpt"
    content = {"state_dict": tensors, "epoch": 3} if wrapped else tensors
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert identify_base(str(path)) is SD15
    assert check_checkpoint(str(path)) is not None


def test_a_ckpt_that_is_cut_off_or_no_table_of_weights_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    for content in ([torch.zeros(2)], torch.zeros(2), {"state_dict": [1]}):
        torch.save(content, path)
        assert "is no checkpoint, or is damaged" in complaint(path)
    torch.save({name: torch.zeros(shape) for name, shape in WHOLE.items()}, path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is no checkpoint, or is damaged" in complaint(path)
    torch.save({"lora_unet_mid.lora_down.weight": torch.zeros(4, 4)}, path)
    assert "a LoRA" in complaint(path)


def test_a_ckpt_with_a_trainers_own_classes_says_which_and_what_to_use(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "callbacks": {"place": Path("x")}}, tmp_path / "model.ckpt")
    said = complaint(tmp_path / "model.ckpt")
    assert "pathlib" in said
    assert "Use the same checkpoint as .safetensors" in said


def test_a_part_of_a_folder_leads_to_the_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "base", {"cross_attention_dim": 768, "in_channels": 4})
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    for place in (folder / "unet", write_header(weights, {"conv_in.weight": [4, 4, 3, 3]})):
        assert f"name its folder, '{folder}'" in complaint(place)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "ControlNetModel"}, "a ControlNetModel alone"),
        ({"architectures": ["LlamaForCausalLM"]}, "a LlamaForCausalLM alone"),
        ({}, "no readable model_index.json"),
    ],
)
def test_a_folder_without_an_index_says_what_it_is(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert words in complaint(tmp_path)


def test_a_folder_with_one_checkpoint_in_it_leads_to_the_file(tmp_path: Path) -> None:
    file = write_header(tmp_path / "dreams_v8.safetensors", WHOLE)
    assert f"name one of them, '{file}'" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("OnnxStableDiffusionPipeline", "ONNX Runtime"),
        ("FlaxStableDiffusionPipeline", "Flax"),
        ("OVStableDiffusionPipeline", "OpenVINO"),
    ],
)
def test_a_folder_for_another_runtime_says_so(tmp_path: Path, pipeline: str, words: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    assert words in complaint(tmp_path)


def test_the_list_of_models_shows_files_that_are_not_read_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "flux-Q4.gguf").write_bytes(GGUF)
    (held,) = inventory(tmp_path)
    assert "GGUF file" in str(held.complaint)


def test_every_model_that_is_named_has_a_chinese_name() -> None:
    for known in _KNOWN:
        said = Finding(Reason.OTHER_MODEL, {"what": known.what})
        assert known.what in said.en
        assert known.what not in said.zh
