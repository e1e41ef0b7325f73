"""Settings: bad values stop the process and name the variable."""

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
