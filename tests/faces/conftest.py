"""One running service with the fake engine for all faces: their clients are external packages."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.support.stack import RunningUp, running_up

KEYS = {"ada": "key-of-ada", "bob": "key-of-bob", "eve": "key-of-eve"}
ORIGIN = "http://127.0.0.1:9"


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    folder = tmp_path_factory.mktemp("faces")
    keys = f"ada={KEYS['ada']},bob={KEYS['bob']}:jobs=1,eve={KEYS['eve']}:read"
    settings = {"api_keys": keys, "api_key": KEYS["ada"], "cors_origins": ORIGIN}
    with running_up(folder, fake_step_seconds="0.05", **settings) as running:
        yield running


@pytest.fixture
def ada(up: RunningUp) -> Iterator[httpx2.Client]:
    """A plain client with ada's key."""
    headers = {"X-API-Key": KEYS["ada"]}
    with httpx2.Client(base_url=up.url, headers=headers, timeout=60, verify=False) as client:
        yield client
