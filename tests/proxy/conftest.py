"""One gateway below a path, behind each proxy that people use, and a worker by the ledger alone."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from shared.blobs import open_blobs
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.certificates import Authority
from tests.support.fleet import claim, finish, progress, show_preview
from tests.support.gateways import running_gateway
from tests.support.proxies import name_leads_here, public_url, running_proxy

STRIPS = {"proxy_pass http://retouch;": "proxy_pass http://retouch/;"}
PROXIES = {"nginx": ("nginx", {}), "nginx that strips": ("nginx", STRIPS), "caddy": ("caddy", {})}


@dataclass(frozen=True)
class Site:
    """The service as its users see it, and as the proxy does."""

    url: str
    tls: ssl.SSLContext
    trust: Path
    worker: "Worker"

    def client(self, **arguments: object) -> httpx2.Client:
        return httpx2.Client(verify=self.tls, timeout=20, **arguments)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Gateway:
    """One gateway that has a public address for each proxy."""

    folder: Path
    url: str
    public: dict[str, tuple[str, int]]
    worker: "Worker"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, store_url: str) -> Iterator[Gateway]:
    folder, public = tmp_path_factory.mktemp("proxy"), {name: public_url() for name in PROXIES}
    settings = {
        "redis_url": store_url,
        "public_url": ", ".join(f"{url}/" for url, _ in public.values()),
        "webhook_hosts": "127.0.0.1",
    }
    with (
        running_gateway(folder, **settings) as running,
        name_leads_here(),
        Worker(folder, store_url) as worker,
    ):
        yield Gateway(folder, running.url, public, worker)


@pytest.fixture(scope="module", params=list(PROXIES))
def site(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Site]:
    kind, changes = PROXIES[request.param]
    url, port = gateway.public[request.param]
    folder, authority = gateway.folder / request.param.replace(" ", "-"), Authority()
    behind = int(gateway.url.rpartition(":")[2])
    with running_proxy(kind, folder, behind, port, authority, changes):
        trust = authority.trusted_by(folder)
        tls = ssl.create_default_context(cafile=str(trust))
        yield Site(url, tls, trust, gateway.worker)


class Worker:
    """Ends every job that comes."""

    def __init__(self, folder: Path, store_url: str) -> None:
        settings = Settings(redis_url=store_url, data_dir=folder / "data", _env_file=None)  # type: ignore[call-arg]
        self._client = connect(store_url)
        self._store, self._blobs = JobStore(self._client, settings), open_blobs(settings)
        self._stopping, self._working = threading.Event(), threading.Event()
        self._working.set()
        self._thread = threading.Thread(target=self._work)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, jobs wait; `go_on` ends it early."""
        self._working.clear()
        yield
        self.go_on()

    def go_on(self) -> None:
        self._working.set()

    def __enter__(self) -> "Worker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()

    def _work(self) -> None:
        while not self._stopping.wait(0.02):
            self._working.wait()
            with suppress(AssertionError):  # nothing waits
                claimed = claim(self._store)
                self._store.report_progress(claimed, progress(50.0))
                show_preview(self._store, self._blobs, claimed)
                finish(self._store, self._blobs, claimed)
