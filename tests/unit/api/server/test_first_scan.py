"""The first scan of the catalogues, which may take longer than a gateway lives."""

import threading
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from shared.loras.catalog import Catalog
from tests.support.wait import wait_until


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "lora-watch"}


def test_a_gateway_that_ends_during_its_first_scan_leaves_nothing_watching(
    gateway: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a gateway that stops while its LoRAs are still being scanned
    others, may_end = watchers(), threading.Event()
    monkeypatch.setattr("api.services.FIRST_SCAN_SECONDS", 0.01)
    monkeypatch.setattr(Catalog, "scan", lambda _: may_end.wait(30))
    gateway().__exit__()
    # When the scan ends
    may_end.set()
    wait_until(
        lambda: all(thread.name != "first-scan" for thread in threading.enumerate()),
        description="the end of the scan",
    )
    # Then no folder is watched any more
    assert watchers() <= others
