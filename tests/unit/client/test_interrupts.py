"""Signals as a count."""

import os
import signal

import pytest

from retouch.interrupts import SIGNALS, Interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_for_the_end_and_a_later_one_hurries(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retouch.interrupts.ONE_WISH_SECONDS", 0)
    with Interrupts() as interrupts:
        assert not interrupts.requested
        os.kill(os.getpid(), number)
        assert interrupts.requested
        assert not interrupts.urgent()
        os.kill(os.getpid(), number)
        assert interrupts.urgent()


def test_two_signals_at_once_are_one_wish() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.requested
        assert not interrupts.urgent()


def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
