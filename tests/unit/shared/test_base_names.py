"""What a base is called in a fleet, and the settings that its owner puts beside it."""

from pathlib import Path

import pytest

from shared.base_defaults import BaseDefaults, base_defaults_of, read_base_defaults
from shared.bases import SD15, SD21, family_of_name, name_base


@pytest.mark.parametrize(
    ("family", "base_model", "name"),
    [
        ("sd15", "/models/dreamshaper-8.safetensors", "sd15/dreamshaper-8"),
        ("sd15", "/models/dreamshaper v8 (final).ckpt", "sd15/dreamshaper-v8-final"),
        ("sd15", "Lykon/dreamshaper-8", "sd15/dreamshaper-8"),
        ("sdxl", "models/juggernaut.v9/", "sdxl/juggernaut.v9"),
        ("sd15", "/models/写实.safetensors", "sd15/写实"),
        ("tiny", "/app/models/tiny", "tiny"),
        ("sd15", "/models/sd15.safetensors", "sd15"),
        ("tiny", "/models/tiny-2", "tiny/tiny-2"),
    ],
)
def test_a_base_is_named_by_family_and_checkpoint(family: str, base_model: str, name: str) -> None:
    assert name_base(family, base_model) == name
    assert family_of_name(name).id == family


def test_a_family_that_a_later_version_adds_is_unknown() -> None:
    assert family_of_name("sd9/new").id == "unknown"


def test_the_settings_beside_a_file_and_in_a_folder_are_read(tmp_path: Path) -> None:
    file, folder = tmp_path / "turbo.safetensors", tmp_path / "lightning"
    file.touch()
    folder.mkdir()
    file.with_suffix(".toml").write_text('steps = 4\nguidance_scale = 0.0\nsampler = "euler"')
    (folder / "retouch.toml").write_text('steps = 8\nprompt = ""')

    assert base_defaults_of(str(file)).said == {
        "steps": 4,
        "guidance_scale": 0.0,
        "sampler": "euler",
    }
    in_folder = base_defaults_of(str(folder)).applied_to(SD21)
    assert (in_folder.steps, in_folder.prompt, in_folder.guidance_scale) == (8, "", 7.5)


def test_a_field_that_cannot_be_used_is_named_and_the_others_count(tmp_path: Path) -> None:
    (tmp_path / "retouch.toml").write_text("steps = 4\nguidance = 3\nstrength = 7")
    found = read_base_defaults(tmp_path)
    assert found.said == {"steps": 4}
    assert any("guidance: is not a setting" in line for line in found.complaints)
    assert any("strength" in line for line in found.complaints)


def test_an_unreadable_settings_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "retouch.toml").write_text("steps = ")
    found = read_base_defaults(tmp_path)
    assert found.said == {}
    assert "cannot be read" in found.complaints[0]


def test_without_a_settings_file_the_familys_values_count() -> None:
    assert BaseDefaults().applied_to(SD15) == SD15
    assert base_defaults_of("owner/not-downloaded") == BaseDefaults()
