"""LoRAs for few steps are recognised by what people call them, and other files are left alone."""

from pathlib import Path

import pytest

from shared.loras.check import check_file
from shared.loras.few_steps import FewSteps, recognise
from tests.unit.loras.lora_files import tiny_specs, write_lora

# Names as published, or as people rename them: family, sampler, steps, guidance.
PUBLISHED = {
    "lcm-lora-sdv1-5/pytorch_lora_weights": ("LCM", "lcm", 8, 1.0),
    "LCM_LoRA_Weights_SD15": ("LCM", "lcm", 8, 1.0),
    "lcmlora_sdxl": ("LCM", "lcm", 8, 1.0),
    "TCD-SDXL-LoRA": ("TCD", "tcd", 8, 1.0),
    "TCD-SD15-LoRA": ("TCD", "tcd", 8, 1.0),
    "dmd2_sdxl_4step_lora_fp16": ("DMD2", "lcm", 4, 1.0),
    "Hyper-SD15-8steps-lora": ("Hyper", "euler", 8, 1.0),
    "Hyper-SD15-12steps-CFG-lora": ("Hyper", "euler", 12, None),
    "Hyper-SDXL-1step-lora": ("Hyper", "tcd", 1, 1.0),
    "hyper_sdxl": ("Hyper", "euler", 8, 1.0),
    "sdxl_lightning_2step_lora": ("Lightning", "euler", 2, 1.0),
    "SDXL-Lightning": ("Lightning", "euler", 4, 1.0),
    "sd_xl_turbo_lora_v1": ("Turbo", "euler", 4, 1.0),
    "sdxl-turbo-lora": ("Turbo", "euler", 4, 1.0),
    "sd_turbo_v21": ("Turbo", "euler", 4, 1.0),
}
OTHERS = [
    "lightning_storm",
    "turbo_car_v2",
    "hyperrealistic_skin",
    "hyper detail",
    "film_grain",
    "elcmar",
    "face_restore_v1.5",
    "step_brothers",
    "turbocharged",
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_name_tells_the_family_and_its_needs(name: str) -> None:
    label, sampler, steps, guidance = PUBLISHED[name]
    few = recognise([name], covers_whole_unet=False, has_unet=True)
    assert few == FewSteps(label=label, sampler=sampler, steps=steps, guidance_scale=guidance)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_that_only_sounds_like_it_is_left_alone(name: str) -> None:
    assert recognise([name], covers_whole_unet=False, has_unet=True) is None


def test_an_ordinary_word_counts_where_the_whole_unet_is_changed() -> None:
    few = recognise(["my_lightning"], covers_whole_unet=True, has_unet=True)
    assert few is not None
    assert few.label == "Lightning"
    assert recognise(["my_style"], covers_whole_unet=True, has_unet=True) is None


def test_steps_beyond_what_a_job_may_ask_for_are_the_familys_own() -> None:
    for name in ("lcm_0steps", "lcm_99steps"):
        few = recognise([name], covers_whole_unet=False, has_unet=True)
        assert few is not None
        assert few.steps == 8


def test_a_transformer_keeps_its_own_sampler_and_guidance() -> None:
    few = recognise(["FLUX.1-Turbo-Alpha_8steps"], covers_whole_unet=False, has_unet=False)
    assert few == FewSteps(label="Turbo", sampler=None, guidance_scale=None, steps=8)


@pytest.mark.parametrize("key", ["modelspec.title", "ss_output_name"])
def test_metadata_tells_it_where_the_files_name_does_not(tmp_path: Path, key: str) -> None:
    write_lora(tmp_path / "weights_tiny.safetensors", tiny_specs(), {key: "LCM-LoRA for SD 1.5"})
    entry = check_file(tmp_path / "weights_tiny.safetensors")
    assert entry.few_steps is not None
    assert entry.few_steps.label == "LCM"
    assert "a LoRA for few steps (LCM): lcm, 8 steps, guidance 1" in entry.evidence


def test_complaints_about_a_toml_are_told_however_much_else_there_is(tmp_path: Path) -> None:
    write_lora(tmp_path / "lcm_tiny.safetensors", tiny_specs())
    keys = [f"key_{number}" for number in range(12)]
    (tmp_path / "lcm_tiny.toml").write_text("".join(f"{key} = 1\n" for key in keys))
    evidence = check_file(tmp_path / "lcm_tiny.safetensors").evidence
    assert len(evidence) <= 16
    assert all(any(key in line for line in evidence) for key in keys)


def test_a_trigger_phrase_is_no_name(tmp_path: Path) -> None:
    said = {"modelspec.trigger_phrase": "lcm"}
    write_lora(tmp_path / "weights_tiny.safetensors", tiny_specs(), said)
    assert check_file(tmp_path / "weights_tiny.safetensors").few_steps is None
