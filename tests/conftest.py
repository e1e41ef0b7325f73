"""Fixtures that every kind of test shares."""

import inspect
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import httpx2
import pytest
import redis
import structlog

from shared.collector import no_collection
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support import schedule
from tests.support.embedded_store import keys_without_ttl, running_store

# The default formatter of exceptions prints the local variables of every frame: sixteen seconds for
# an error in a route. Processes of the service use this one.
_PLAIN = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])


# A service on a busy machine may take longer than httpx2's five seconds for an answer.
_patience = inspect.signature(httpx2.get).parameters["timeout"].default
_patience.connect = _patience.read = _patience.write = _patience.pool = 60.0


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """A million objects of libraries stay until the end: a look through them takes a second."""
    with no_collection():
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    schedule.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> schedule.ByUnit | None:
    """xdist's own, except for `--dist loadfile`."""
    return schedule.ByUnit(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store for the whole run; each test that uses it through `redis_client` starts with an empty
    one.
    """
    with running_store(tmp_path_factory.mktemp("store")) as url:
        yield url


@pytest.fixture
def redis_client(store_url: str) -> Iterator[redis.Redis]:
    """A client of an empty store. Afterwards, no key may be left without a time to live."""
    client = connect(store_url)
    client.flushall()
    yield client
    assert keys_without_ttl(client) == []
    client.close()


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts of an embedded base's checkpoint that the fleet reads: its configuration."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text('{"cross_attention_dim": 64}')
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionImg2ImgPipeline"}')
    return folder


@pytest.fixture
def make_settings(store_url: str, base_folder: Path, tmp_path: Path) -> Callable[..., Settings]:
    """Builds settings for this test's folders, with overrides."""

    def make(**overrides: object) -> Settings:
        defaults: dict[str, object] = {
            "redis_url": store_url,
            "data_dir": tmp_path / "data",
            "base_model": str(base_folder),
            "_env_file": None,
        }
        return Settings(**(defaults | overrides))  # type: ignore[arg-type]

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.fixture
def store(redis_client: redis.Redis, settings: Settings) -> JobStore:
    """The ledger on an empty store."""
    return JobStore(redis_client, settings)
