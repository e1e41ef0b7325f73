"""Fail closed: what is switched on is there, or the worker does not start."""

from collections.abc import Callable

import pytest
import redis

from shared.ledger.fleet import Fleet
from shared.settings import Settings
from tests.support.marked import photo, with_code
from worker.guards import guard_loading as loading
from worker.guards.guard_loading import GuardUnavailable, load_guards
from worker.process import exits
from worker.process.starting import start_worker


def broken(_settings: Settings) -> None:
    raise FileNotFoundError("PP-OCRv6_det_small.onnx")


@pytest.fixture
def without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = [row if row[0] != "text" else ("text", "text", broken) for row in loading._MARKS]
    monkeypatch.setattr(loading, "_MARKS", tuple(marks))


@pytest.mark.usefixtures("without_text")
def test_a_guard_that_cannot_load_is_named_with_the_way_out(
    make_settings: Callable[..., Settings],
) -> None:
    with pytest.raises(GuardUnavailable, match=r"'text' cannot be loaded .*RETOUCH_GUARDS"):
        load_guards(make_settings(guards="codes,text"))


@pytest.mark.usefixtures("without_text")
def test_a_guard_that_is_switched_off_is_not_missed(
    make_settings: Callable[..., Settings],
) -> None:
    guards = load_guards(make_settings(guards="codes"))
    verdict = guards.check_output(photo(), with_code(photo()))
    assert verdict.safety.flags == ["code"]
    assert verdict.safety.nsfw is None


@pytest.mark.usefixtures("without_text")
def test_a_worker_whose_guard_cannot_load_is_never_ready(
    make_settings: Callable[..., Settings],
    redis_client: redis.Redis,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = make_settings(engine="fake", guards="text")
    assert start_worker(settings, "host-1-aaaa-1") == exits.CANNOT_START
    assert Fleet(redis_client).workers() == []
    # Where the log goes depends on what has set it up before in this process.
    said = capsys.readouterr().out + caplog.text
    assert "guard 'text' cannot be loaded" in said


def test_all_guards_can_be_off(make_settings: Callable[..., Settings]) -> None:
    verdict = load_guards(make_settings(guards="off")).check_output(photo(), with_code(photo()))
    assert verdict.safety.flags == []
    assert verdict.error is None
