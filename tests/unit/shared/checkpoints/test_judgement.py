"""What a checkpoint is and whether it can be served, told without torch."""

import json
import struct
from pathlib import Path

import pytest

from shared.bases import SD15, SD21, SDXL, UNKNOWN, identify_base
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.judgement import check_checkpoint

UNET = "model.diffusion_model."
WHOLE = {
    UNET + "input_blocks.0.0.weight": [32, 4, 3, 3],
    UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [32, 768],
    "first_stage_model.decoder.conv_in.weight": [32, 4, 3, 3],
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": [768],
}


def write_header(path: Path, shapes: dict[str, list[int]], missing_bytes: int = 0) -> Path:
    """A sparse safetensors file with float16 tensors of these shapes."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end - missing_bytes)
    return path


def write_folder(folder: Path, unet: dict[str, object], **vae: object) -> Path:
    """A checkpoint folder of configurations alone."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    for name, config in {"unet": unet, "vae": vae}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(("width", "base"), [(768, SD15), (1024, SD21), (2048, SDXL)])
def test_a_single_file_tells_its_family_by_its_shapes_whatever_its_name(
    tmp_path: Path, width: int, base: object
) -> None:
    key = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    file = write_header(tmp_path / "flux_xl_v2.safetensors", WHOLE | {key: [32, width]})
    assert identify_base(str(file)) is base
    assert check_checkpoint(str(file)) is not None


def test_a_finetune_in_the_hubs_cache_tells_its_family_by_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an id whose words tell nothing, downloaded before, without its safety checker
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--Lykon--dreamshaper-8"
    write_folder(kept / "snapshots" / "abc", {"cross_attention_dim": 768, "in_channels": 4})
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    # Then it is what its configuration says, and can be served
    assert identify_base("Lykon/dreamshaper-8") is SD15
    assert check_checkpoint("Lykon/dreamshaper-8") is not None
    assert identify_base("Lykon/another-8") is UNKNOWN


@pytest.mark.parametrize(
    ("unet", "vae", "words"),
    [
        ({"in_channels": 9}, {}, "inpainting"),
        ({"in_channels": 8}, {}, "InstructPix2Pix"),
        ({"in_channels": 4, "time_cond_proj_dim": 256}, {}, "latent consistency"),
        ({"in_channels": 4}, {"latents_mean": [0.0]}, "EDM"),
    ],
)
def test_a_folder_that_would_give_wrong_pictures_is_refused_in_words(
    tmp_path: Path, unet: dict[str, object], vae: dict[str, object], words: str
) -> None:
    folder = write_folder(tmp_path / "base", {"cross_attention_dim": 768} | unet, **vae)
    with pytest.raises(BadCheckpoint, match=words):
        check_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({**WHOLE, UNET + "input_blocks.0.0.weight": [32, 9, 3, 3]}, "inpainting"),
        ({**WHOLE, UNET + "time_embed.cond_proj.weight": [32, 256]}, "latent consistency"),
        ({**WHOLE, "edm_mean": [4]}, "EDM"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": [4, 32]}, "a LoRA"),
        ({"unet.mid_block.proj_in.lora_A.weight": [4, 32]}, "a LoRA"),
        ({name: shape for name, shape in WHOLE.items() if "first_stage" not in name}, "VAE"),
        ({name: shape for name, shape in WHOLE.items() if "cond_stage" not in name}, "text enc"),
    ],
)
def test_a_file_that_cannot_be_served_says_what_it_is(
    tmp_path: Path, shapes: dict[str, list[int]], words: str
) -> None:
    file = write_header(tmp_path / "model.safetensors", shapes)
    with pytest.raises(BadCheckpoint, match=words):
        check_checkpoint(str(file))


def test_a_download_that_was_cut_off_says_how_much_is_there(tmp_path: Path) -> None:
    file = write_header(tmp_path / "model.safetensors", WHOLE, missing_bytes=1000)
    with pytest.raises(BadCheckpoint, match=r"incomplete: [\d,]+ of [\d,]+ bytes"):
        check_checkpoint(str(file))


def test_a_pickle_under_a_safetensors_name_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"\x80\x04" + b"\x95" * 100)
    with pytest.raises(BadCheckpoint, match="pickle"):
        check_checkpoint(str(file))


@pytest.mark.parametrize("name", ["nothing/here/at/all", "./models/absent", "model.onnx"])
def test_a_name_that_leads_nowhere_says_what_can_be_named(name: str) -> None:
    with pytest.raises(BadCheckpoint, match="a folder in diffusers' layout"):
        check_checkpoint(name)


def test_a_lora_folder_is_told_from_a_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="a LoRA in PEFT's layout"):
        check_checkpoint(str(tmp_path))
