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
        ("RETOUCH_FACES", "openai,gradio"),
        ("RETOUCH_FACES", "off,mcp"),
        ("RETOUCH_CORS_ORIGINS", "https://good.example, photos.example"),
        ("RETOUCH_CORS_ORIGINS", "https://photos.example/page"),
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


WORDS = (
    "RETOUCH_CORS_ORIGINS",
    "RETOUCH_PUBLIC_URL",
    "RETOUCH_WEBHOOK_HOSTS",
    "RETOUCH_DEVICES",
)
LISTS = (*WORDS, "RETOUCH_API_KEYS", "RETOUCH_LORAS_DIR")


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "text",
    ["http://a,http://b", " http://a , http://b,", "http://a\nhttp://b\n", ",http://a,,http://b"],
)
def test_every_list_has_one_grammar(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str
) -> None:
    if name == "RETOUCH_LORAS_DIR":  # whose entries end at a colon, too
        text = text.replace("http:", "")
    field = name.removeprefix("RETOUCH_").lower()
    # In the environment
    with monkeypatch.context() as patch:
        patch.setenv(name, text)
        found = getattr(load_settings(_env_file=None), field)
    # And in a file
    (tmp_path / "env").write_text(f'{name}="{text}"\n')
    in_file = getattr(load_settings(_env_file=tmp_path / "env"), field)
    expected = ["//a", "//b"] if name == "RETOUCH_LORAS_DIR" else ["http://a", "http://b"]
    assert list(map(str, found)) == list(map(str, in_file)) == expected


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("text", ["", "  ", ",", "\n"])
def test_a_list_may_be_empty(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    assert getattr(load_settings(_env_file=None), name.removeprefix("RETOUCH_").lower()) == ()


@pytest.mark.parametrize("name", WORDS)
def test_a_space_ends_an_entry_that_cannot_hold_one(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://a  http://b\thttp://c")
    found = getattr(load_settings(_env_file=None), name.removeprefix("RETOUCH_").lower())
    assert found == ("http://a", "http://b", "http://c")


def test_keys_and_folders_may_hold_spaces() -> None:
    made = Settings(api_keys="me=a pass phrase,other", loras_dir="/my loras:~/x", _env_file=None)
    assert made.api_keys == ("me=a pass phrase", "other")
    assert made.loras_dir == (Path("/my loras"), Path.home() / "x")


def test_a_folder_that_is_there_is_one_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "people, places: all"
    folder.mkdir()
    assert Settings(loras_dir=str(folder), _env_file=None).loras_dir == (folder,)
    assert Settings(loras_dir=folder, _env_file=None).loras_dir == (folder,)


def test_an_origin_is_read_as_browsers_write_it() -> None:
    made = Settings(cors_origins="https://Photos.example/ http://127.0.0.1:8000", _env_file=None)
    assert made.cors_origins == ("https://photos.example", "http://127.0.0.1:8000")
