"""A hint that cannot be sent says so soon: the ledger has the job already."""

import time
from collections.abc import Callable

import pytest

from shared.errors import StoreUnavailable
from shared.queue import Hints, make_celery
from shared.settings import Settings


def test_a_hint_to_a_dead_broker_fails_without_the_six_seconds_that_kombu_would_take(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(broker_url="redis://127.0.0.1:1/0")
    hints = Hints(make_celery(settings, "tiny"), "tiny")
    started = time.monotonic()

    with pytest.raises(StoreUnavailable):
        hints.send("0" * 32)

    assert time.monotonic() - started < 3.0
