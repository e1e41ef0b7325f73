"""`.env.example` lists every setting with its line of documentation and its default."""

import re
from pathlib import Path

import pytest

from shared.settings import REPOSITORY, Settings

EXAMPLE = REPOSITORY / ".env.example"
ENTRY = re.compile(r"^# (?P<doc>.+)\n#(?P<name>RETOUCH_[A-Z0-9_]+)=(?P<value>.*)$", re.MULTILINE)


def listed() -> dict[str, tuple[str, str]]:
    """Each variable's line of documentation and value, as the file has them, in its order."""
    found = ENTRY.finditer(EXAMPLE.read_text(encoding="utf-8"))
    return {entry["name"]: (entry["doc"], entry["value"]) for entry in found}


def documented() -> dict[str, tuple[str, str]]:
    """The same from the settings themselves."""
    return {
        f"RETOUCH_{name.upper()}": (str(field.description), spelled(field.default))
        for name, field in Settings.model_fields.items()
    }


def spelled(default: object) -> str:
    """A default as one writes it in a file: folders of the project relative to it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(spelled, default))
    return str(default).removeprefix(f"{REPOSITORY}/")


def test_the_example_lists_every_setting_with_its_documentation_and_default() -> None:
    assert listed() == documented()


def test_the_example_has_the_order_of_the_settings() -> None:
    assert list(listed()) == list(documented())


def test_the_example_sets_nothing_by_itself() -> None:
    """Setting RETOUCH_REDIS_URL, even to its default, asks for a store of one's own."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_example_with_every_line_in_force_gives_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    for name in listed():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(REPOSITORY)
    text = EXAMPLE.read_text(encoding="utf-8").replace("\n#RETOUCH_", "\nRETOUCH_")
    (tmp_path / "env").write_text(text, encoding="utf-8")
    # When
    in_force = Settings(_env_file=tmp_path / "env")  # type: ignore[call-arg]
    # Then
    defaults = Settings(_env_file=None)  # type: ignore[call-arg]
    assert resolved(in_force) == resolved(defaults)


def resolved(settings: Settings) -> dict[str, object]:
    """The values with folders as absolute ones."""
    values = settings.model_dump()
    for name in ("base_model", "upscalers_dir", "data_dir"):
        values[name] = Path(values[name]).resolve()
    values["loras_dir"] = [folder.resolve() for folder in values["loras_dir"]]
    return values
