"""One job through one worker with a fake engine; with a catalogue, a guard and a mask."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.blobs import BlobStore, open_blobs
from shared.jobs import Job, Mask
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.preview_queue import PreviewLine, open_line
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.loras.catalog import Catalog
from shared.settings import Settings
from shared.upscalers.architecture import Architecture
from shared.upscalers.catalog import UpscalerCatalog
from tests.support.workers import picture, spec_with_picture
from tests.unit.upscalers.upscaler_files import tensors_of, write_plain
from worker.engine.testing.fake import FakeEngine
from worker.guards.panel import Classifier, Comparison, Guards, Mark
from worker.job.enlarging import Enlargements
from worker.job.history import History
from worker.job.leases import LeaseKeeper
from worker.job.lora_choice import Chooser
from worker.job.preview_runner import PreviewServer
from worker.job.probe import NoProbe
from worker.job.pulse import Pulse
from worker.job.runner import Runner

RunJob = Callable[..., Job]


def catalog_of(folder: Path, **networks: Architecture) -> UpscalerCatalog:
    folder.mkdir(exist_ok=True)
    for name, architecture in networks.items():
        write_plain(folder / f"{name}.safetensors", tensors_of(architecture))
    catalog = UpscalerCatalog(folder)
    catalog.scan()
    return catalog


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_blobs(settings)


@pytest.fixture
def line(settings: Settings, redis_client: redis.Redis) -> PreviewLine:
    del redis_client  # empties the store before and watches for lasting keys after
    return open_line(settings, "tiny")


@pytest.fixture
def started() -> Iterator[Callable[[PreviewServer], PreviewServer]]:
    """Start a server of previews, which stops at the end of the test."""
    servers: list[PreviewServer] = []

    def start(server: PreviewServer) -> PreviewServer:
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def run(store: JobStore, blobs: BlobStore, redis_client: redis.Redis, settings: Settings) -> RunJob:
    """Run a job of 64 x 48 pixels through a worker with this catalogue."""

    def run_one(
        catalog: UpscalerCatalog,
        base: str = "tiny",
        *,
        mask: Mask | None = None,
        guard: Classifier | None = None,
        marks: Mapping[Mark, Comparison] | None = None,
        engine: FakeEngine | None = None,
        **params: Any,
    ) -> Job:
        engine = engine or FakeEngine(base, 0.0)
        loras = Catalog(settings.data_dir / "loras", base)
        loras.scan()
        spec = spec_with_picture(blobs, picture(), **{"lora_mode": "none"} | params)
        spec = spec.model_copy(update={"base": base, "mask": mask})
        store.submit(spec)
        parts: dict[str, Any] = {
            "worker_id": "w",
            "base": base,
            "engine": engine,
            "store": store,
            "blobs": blobs,
            "history": History(redis_client, base, "fake"),
            "chooser": Chooser(loras, base),
            "enlargements": Enlargements(catalog, base, "fake"),
            "guards": Guards(guard, marks),
            "strikes": Strikes(redis_client, settings),
            "failures": LoraFailures(redis_client, base),
            "leases": LeaseKeeper(store, 60.0, 60.0),
            "pulse": Pulse(),
            "probe": NoProbe(),
            "on_device_lost": lambda: None,
        }
        assert Runner(**parts).run_next()
        engine.close()
        return store.get(spec.id)

    return run_one
