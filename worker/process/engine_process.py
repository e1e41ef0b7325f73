"""A worker process: the engine and everything around it, started and stopped in order.

Owns the threads' lifetime and the handling of SIGTERM: claim no more jobs, finish those that can
end within the grace period, return the others.
"""

import os
import signal
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

import structlog
from celery import Celery, signals

from shared.base_defaults import base_defaults_of
from shared.bases import name_base
from shared.blobs import open_blobs
from shared.collector import no_collection
from shared.errors import RetouchError
from shared.ledger.fleet import Fleet, WorkerInfo, now
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.preview_queue import open_line
from shared.ledger.queue import Hints, make_celery
from shared.ledger.reaper import Reaper
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.loras.catalog import Catalog
from shared.loras.plans import modules_of
from shared.loras.sync import lora_sync
from shared.periodic import loop_failures
from shared.settings import Settings
from shared.upscalers.catalog import UpscalerCatalog
from worker.engine.interface import Engine
from worker.engine.make_engine import make_engine
from worker.guards.guard_loading import load_guards
from worker.job.enlarging import Enlargements
from worker.job.history import History
from worker.job.leases import LeaseKeeper
from worker.job.lora_choice import Chooser
from worker.job.preview_runner import PreviewServer
from worker.job.probe import make_probe
from worker.job.provenance import make_seal
from worker.job.pulse import Pulse
from worker.job.runner import Draining, Runner
from worker.process.base_names import reserve_base
from worker.process.consumer import PatientConsumer
from worker.process.devices import DeviceKeeper, HeldDevice, is_beside_a_gpu
from worker.process.heartbeat import Heartbeat
from worker.process.lora_whereabouts import Whereabouts
from worker.process.poller import Poller
from worker.process.tasks import register
from worker.process.watchdog import CPU_PATIENCE, Watchdog, exit_code

logger = structlog.get_logger(__name__)

# A worker should rather wait for a slow store than lose a job because of it.
ANSWER_SECONDS = 5.0


class WorkerProcess:
    """A context manager: inside it the engine is loaded, leases are renewed and the fleet knows
    this worker.
    """

    def __init__(self, settings: Settings, worker_id: str, held: HeldDevice) -> None:
        self._settings = settings
        with no_collection():
            self._guards = load_guards(settings)
        self._engine = make_engine(settings)
        self.worker_id = worker_id
        self._base = name_base(self._engine.base, settings.base_model)
        self._defaults = base_defaults_of(settings.base_model)
        client = connect(settings.redis_url, ANSWER_SECONDS, settings.key_prefix)
        strikes = Strikes(client, settings)
        failures = LoraFailures(client, self._engine.base)
        self._store = store = JobStore(client, settings)
        blobs = open_blobs(settings)
        self.app: Celery = make_celery(settings, self._base)
        self.app.conf.worker_concurrency = admission_window(settings, self._engine)
        self.app.conf.worker_consumer = "worker.process.consumer:PatientConsumer"
        self._leases = _lease_keeper(settings)
        self._device = DeviceKeeper(held, lambda: os.kill(os.getpid(), signal.SIGTERM))
        self._catalog = Catalog(
            settings.lora_folders,
            self._engine.base,
            modules=modules_of(settings.base_model),
            digests=settings.data_dir / f"lora-digests-{socket.gethostname()}.json",
            suspended=lambda: {**failures.failed(), **strikes.suspended()},
        )
        self._sync = lora_sync(settings)
        self._upscalers = UpscalerCatalog(
            settings.upscalers_dir,
            digests=settings.data_dir / f"upscaler-digests-{socket.gethostname()}.json",
        )
        chooser = Chooser(self._catalog, self._engine.base, self._defaults)
        line = open_line(settings, self._base)
        enlargements = Enlargements(self._upscalers, self._engine.base, self._engine.device)
        self._previews = PreviewServer(
            line, blobs, chooser, self._engine, self._guards, enlargements
        )
        self._fleet = fleet = Fleet(client)
        self._whereabouts = Whereabouts(self._catalog, self._sync, fleet, worker_id)
        self._heartbeat = Heartbeat(fleet, self._describe)
        self._reaper = Reaper(store, Hints(self.app, self._base), blobs, settings)
        self._draining = threading.Event()
        self._consumer: PatientConsumer | None = None
        pulse = Pulse()
        self._watchdog = Watchdog(
            pulse,
            step_seconds=settings.step_timeout_seconds * _slowness(self._engine.device),
            idle_seconds=settings.idle_timeout_seconds,
            is_idle=self._is_idle,
            queued=lambda: runner.waiting(),
            complaint=self._engine.complaint,
            end=self._end,
        )
        runner = Runner(
            worker_id=self.worker_id,
            base=self._base,
            engine=self._engine,
            store=store,
            blobs=blobs,
            history=History(client, self._engine.base, self._engine.device),
            chooser=chooser,
            enlargements=enlargements,
            guards=self._guards,
            strikes=strikes,
            failures=failures,
            leases=self._leases,
            pulse=pulse,
            probe=make_probe(settings, worker_id),
            seal=make_seal(settings),
            on_device_lost=self._give_up_device,
            whereabouts=self._whereabouts.of,
        )
        self._poller = Poller(runner, self._is_idle, self._is_consuming, self._reconnect)
        register(self.app, runner, self._draining.is_set)

    def reserve_base(self) -> None:
        """Reserves the base's name for these weights. Raises BadCheckpoint if a living worker
        serves others under it, and the store's errors.
        """
        reserve_base(self._fleet, self._base, self._engine.fingerprint)

    def __enter__(self) -> "WorkerProcess":
        if self._sync is not None:
            # A job that is claimed needs its files.
            self._sync.start(wait=True)
        for complaint in self._defaults.complaints:
            logger.warning("a setting of the base is not used", reason=complaint)
        self._catalog.scan()
        self._catalog.watch()
        self._upscalers.scan()
        self._upscalers.watch()
        self._device.start()
        self._leases.start()
        self._previews.start()
        self._watchdog.start()
        self._poller.start()
        self._reaper.start()
        self._heartbeat.start()
        logger.info("worker ready", worker=self.worker_id, device=self._engine.device)
        if is_beside_a_gpu(self._settings, self._engine.device):
            logger.critical("the worker runs on the CPU beside a GPU", next_step="retouch doctor")
            with suppress(RetouchError):
                self._store.count("alarm:cpu_beside_gpu")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._poller.stop()
        self._watchdog.stop()
        self._heartbeat.stop()
        self._reaper.stop()
        self._previews.stop()
        self._engine.close()
        self._guards.close()
        self._leases.stop()
        self._device.stop()
        if self._sync is not None:
            self._sync.stop()
        self._catalog.close()
        self._upscalers.close()

    def consume(self) -> None:
        """Consumes hints until told to stop; the Celery worker's main loop."""
        signals.worker_ready.connect(self._know_consumer, weak=False)
        signals.worker_shutting_down.connect(self._drain, weak=False)
        # Not by Celery's command line, which imports all its commands and every plug-in's.
        self.app.Worker(
            hostname=f"{self.worker_id}@{socket.gethostname()}",
            loglevel=self._settings.log_level.upper(),
            quiet=True,
            without_mingle=True,
            without_gossip=True,
        ).start()

    def _drain(self, **_: Any) -> None:
        """After SIGTERM: claims no more jobs; those not done within the grace period are returned.
        A second signal ends the grace period.
        """
        if self._draining.is_set():
            self._leases.stop_all(Draining())
            return
        self._draining.set()
        grace = threading.Timer(
            self._settings.grace_seconds, lambda: self._leases.stop_all(Draining())
        )
        grace.daemon = True
        grace.start()

    def _know_consumer(self, sender: PatientConsumer, **_: Any) -> None:
        self._consumer = sender

    def _is_consuming(self) -> bool:
        return self._consumer is not None

    def _reconnect(self) -> None:
        if self._consumer is not None:
            self._consumer.reconnect()

    def _is_idle(self) -> bool:
        return not self._leases.count() and not self._draining.is_set()

    def _end(self, code: int) -> None:
        """Ends at once, with jobs running: the supervisor returns them."""
        self._leases.abandon()
        os._exit(code)

    def _give_up_device(self) -> None:
        self._end(exit_code(self._engine.complaint()))

    def _describe(self) -> WorkerInfo:
        return WorkerInfo(
            id=self.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=self._engine.device,
            base=self._base,
            fingerprint=self._engine.fingerprint,
            base_defaults=self._defaults,
            profile=self._engine.profile,
            residency=self._engine.residency(),
            in_flight=self._leases.count(),
            loop_failures=dict(loop_failures()),
            loras=self._whereabouts.own(),
            last_heartbeat_at=now(),
        )


def admission_window(settings: Settings, engine: Engine) -> int:
    """How many jobs this worker claims at a time: not so many that it keeps jobs from an idle
    worker.
    """
    rows = engine.small_rows if settings.only_worker else engine.rows
    return settings.admission_window or rows + 1


def _lease_keeper(settings: Settings) -> LeaseKeeper:
    # Separate connections with shorter time-outs: a renewal that hangs must not cost the lease.
    client = connect(settings.redis_url, settings.renew_seconds, settings.key_prefix)
    store = JobStore(client, settings)
    return LeaseKeeper(store, settings.renew_seconds, settings.lease_seconds)


def _slowness(device: str) -> int:
    return CPU_PATIENCE if device == "cpu" else 1
