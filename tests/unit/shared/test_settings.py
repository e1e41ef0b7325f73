"""Settings: bad values stop the process and name the variable."""

from pathlib import Path

import pytest

from shared.settings import BadSettings, Settings, load_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETOUCH_PORT", "eighty"),
        ("RETOUCH_PORT", "70000"),
        ("RETOUCH_REDIS_URL", "http://here"),
        ("RETOUCH_BLOB_URL", "ftp://there"),
        ("RETOUCH_LEASE_SECONDS", "-1"),
        ("RETOUCH_RENEW_SECONDS", "9"),
        ("RETOUCH_ENGINE", "steam"),
        ("RETOUCH_GUARDS", "auto,text"),
        ("RETOUCH_GUARDS", "everything"),
        ("RETOUCH_GATE", "auto"),
    ],
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=name):
        load_settings(_env_file=None)


@pytest.mark.parametrize(
    ("store", "broker"),
    [
        ("redis://host:1/0", "redis://host:1/1"),
        ("redis://host:1", "redis://host:1/1"),
        ("redis://:secret@host/15", "redis://:secret@host/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_the_broker_is_the_stores_next_database(store: str, broker: str) -> None:
    assert Settings(redis_url=store, _env_file=None).broker == broker


def test_every_field_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_guard_of_marks_is_on_by_itself_only_with_the_base_that_it_was_measured_with() -> None:
    every = {"unsafe", "codes", "text", "marks"}
    assert Settings(_env_file=None).guard_names == every
    assert Settings(base_model="stabilityai/sdxl", _env_file=None).guard_names == every - {"marks"}
    assert Settings(guards="text, marks", _env_file=None).guard_names == {"text", "marks"}
    assert Settings(guards="off", _env_file=None).guard_names == set()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("RETOUCH_LORA_DIR", "RETOUCH_LORAS_DIR"), ("retouch_redis", "RETOUCH_REDIS_URL")],
)
def test_a_name_that_is_no_setting_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, nearest: str
) -> None:
    # In the environment
    with monkeypatch.context() as patch:
        patch.setenv(name, "x")
        with pytest.raises(BadSettings, match=f"{name}.*did you mean {nearest}"):
            load_settings(_env_file=None)
    # And in a file
    (tmp_path / "env").write_text(f"# a comment\n{name}=x\nOTHER=1\n")
    with pytest.raises(BadSettings, match=f"{name}.*did you mean {nearest}"):
        load_settings(_env_file=tmp_path / "env")


def test_a_name_like_no_setting_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETOUCH_123456789", "x")
    with pytest.raises(
        BadSettings, match=r"RETOUCH_123456789: there is no such setting; \.env\.example"
    ):
        load_settings(_env_file=None)


def test_settings_of_either_case_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("retouch_port=8001\n")
    monkeypatch.setenv("RETOUCH_HOST", "127.0.0.2")
    loaded = load_settings(_env_file=tmp_path / "env")
    assert (loaded.port, loaded.host) == (8001, "127.0.0.2")
