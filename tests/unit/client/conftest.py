"""What the client's tests share."""

from typing import Any

import pytest

from tests.unit.client import scripted_server


@pytest.fixture(params=scripted_server.CLIENTS)
def each_client(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """`served` gives a client of this kind; the test runs once with each."""
    monkeypatch.setattr(scripted_server, "client_kind", scripted_server.CLIENTS[request.param])
    return str(request.param)
