"""A worker process: the engine and everything around it, started and stopped in order.

Owns the threads' lives and SIGTERM's meaning: stop claiming, finish what fits the grace, give the
rest back.
"""

import os
import socket
import threading
from types import TracebackType
from typing import Any
from uuid import uuid4

import structlog
from celery import Celery, signals
from shared.loras.catalog import Catalog

from shared.blobs import open_blobs
from shared.fleet import Fleet, WorkerInfo, now
from shared.history import History
from shared.queue import Hints, make_celery
from shared.reaper import Reaper
from shared.redis_client import connect
from shared.settings import Settings
from shared.store import JobStore
from worker.choice import Chooser
from worker.engine import make_engine
from worker.heartbeat import Heartbeat
from worker.leases import LeaseKeeper
from worker.runner import Draining, Runner
from worker.tasks import register

logger = structlog.get_logger(__name__)

# A worker would rather wait for a slow store than lose a job to it.
ANSWER_SECONDS = 5.0


class WorkerProcess:
    """A context: inside it the engine is warm, leases are kept and the fleet knows this worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = make_engine(settings)
        host = socket.gethostname()
        device = self._engine.device.replace(":", "")
        self.worker_id = f"{host}-{os.getpid()}-{device}-{uuid4().hex[:4]}"
        client = connect(settings.redis_url, ANSWER_SECONDS)
        store, blobs = JobStore(client, settings), open_blobs(settings)
        self.app: Celery = make_celery(settings, self._engine.base)
        self._leases = LeaseKeeper(store, settings.renew_seconds)
        self._catalog = Catalog(settings.loras_dir, self._engine.base)
        self._heartbeat = Heartbeat(Fleet(client), self._describe)
        hints = Hints(self.app, self._engine.base)
        self._reaper = Reaper(store, hints, blobs, self._engine.base, settings)
        self._draining = threading.Event()
        runner = Runner(
            worker_id=self.worker_id,
            engine=self._engine,
            store=store,
            blobs=blobs,
            history=History(client, self._engine.base, self._engine.device),
            chooser=Chooser(self._catalog, self._engine.base),
            leases=self._leases,
        )
        register(self.app, runner, self._draining.is_set)

    def __enter__(self) -> "WorkerProcess":
        self._catalog.scan()
        self._catalog.watch()
        self._leases.start()
        self._reaper.start()
        self._heartbeat.start()
        logger.info("worker ready", worker=self.worker_id, device=self._engine.device)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heartbeat.stop()
        self._reaper.stop()
        self._engine.close()
        self._leases.stop()
        self._catalog.close()

    def consume(self) -> None:
        """Take hints until told to stop; the Celery worker's main loop."""
        signals.worker_shutting_down.connect(self._drain, weak=False)
        arguments = ["--quiet", "worker", "--pool=threads", "--without-mingle", "--without-gossip"]
        arguments += ["--hostname", f"{self.worker_id}@%h", "--loglevel", self._settings.log_level]
        self.app.worker_main(arguments)

    def _drain(self, **_: Any) -> None:
        """SIGTERM has come: claim no more; what is not done within the grace is given back."""
        self._draining.set()
        grace = threading.Timer(
            self._settings.grace_seconds, lambda: self._leases.stop_all(Draining())
        )
        grace.daemon = True
        grace.start()

    def _describe(self) -> WorkerInfo:
        return WorkerInfo(
            id=self.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=self._engine.device,
            base=self._engine.base,
            profile=self._engine.profile,
            residency=self._engine.residency(),
            in_flight=self._leases.count(),
            last_heartbeat_at=now(),
        )
