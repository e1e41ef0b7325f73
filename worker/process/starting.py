"""The start of an engine process: the store, a device, the engine, and then the hints.

Owns the order, and the log messages about waiting.
"""

import time

import redis
import structlog

from shared.blobs import open_blobs
from shared.checkpoints.facts import BadCheckpoint
from shared.collector import no_collection
from shared.errors import RetouchError, StoreRefuses
from shared.ledger.redis_client import connect
from shared.ledger.store_check import examine_store
from shared.object_blobs import examine_objects
from shared.settings import Settings
from worker.guards.guard_loading import GuardUnavailable
from worker.process import exits
from worker.process.device_leases import DeviceLeases
from worker.process.devices import HeldDevice, devices_of

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
CORRECT_URL = "correct RETOUCH_REDIS_URL"
CORRECT_BLOBS = "correct RETOUCH_BLOB_URL"
# Time between two log lines about the same wait.
SAY_SECONDS = 15.0


def start_worker(settings: Settings, worker_id: str) -> int:
    """Works until told to stop; returns the exit code."""
    client = connect(settings.redis_url, prefix=settings.key_prefix)
    try:
        wait_for_store(client)
    except StoreRefuses as error:
        logger.critical("the worker does not start", reason=str(error), next_step=CORRECT_URL)
        return exits.CANNOT_START
    try:
        examine_objects(open_blobs(settings))
    except StoreRefuses as error:
        logger.critical("the worker does not start", reason=str(error), next_step=CORRECT_BLOBS)
        return exits.CANNOT_START
    except RetouchError as error:
        logger.warning("waiting for the object store", reason=str(error))
    held = take_device(client, settings, worker_id.rpartition("-")[0])
    with no_collection():
        from worker.process.engine_process import WorkerProcess

    try:
        worker = WorkerProcess(held.applied_to(settings), worker_id, held)
        worker.reserve_base()
    except BadCheckpoint as error:
        logger.critical("the base cannot be served", reason=str(error), next_step="retouch doctor")
        return exits.CANNOT_START
    except GuardUnavailable as error:
        logger.critical("the worker does not start without its guards", reason=str(error))
        return exits.CANNOT_START
    except Exception:
        logger.exception("the engine does not start")
        return exits.CANNOT_START
    with worker:
        worker.consume()
    return 0


def wait_for_store(client: redis.Redis) -> None:
    """Returns once the store accepts writes; logs what prevents it. Raises StoreRefuses."""
    patience = _Patience()
    while True:
        try:
            warnings = examine_store(client)
        except StoreRefuses:
            raise
        except RetouchError as error:
            patience.wait("waiting for the store", str(error))
        else:
            for warning in warnings:
                logger.warning(warning)
            return


def take_device(client: redis.Redis, settings: Settings, holder: str) -> HeldDevice:
    """A device for this worker alone, waiting for one if necessary; a shared one if the settings
    allow it.
    """
    devices, patience = devices_of(settings), _Patience()
    leases = DeviceLeases(client, holder)
    if not devices:
        return HeldDevice(None, None, leases)
    while True:
        try:
            taken = leases.take(list(devices))
        except RetouchError as error:
            patience.wait("waiting for the store", str(error))
            continue
        if taken is not None:
            return HeldDevice(devices[taken], taken, leases)
        if settings.share_devices:
            logger.warning("every device is in use; sharing one", devices=list(devices.values()))
            return HeldDevice(next(iter(devices.values())), None, leases)
        patience.wait("waiting for a device", f"taken: {', '.join(devices.values())}")


class _Patience:
    """Waits a little, and logs the reason from time to time."""

    def __init__(self) -> None:
        self._said = float("-inf")

    def wait(self, what: str, why: str) -> None:
        if time.monotonic() - self._said > SAY_SECONDS:
            self._said = time.monotonic()
            logger.warning(what, reason=why)
        time.sleep(LOOK_SECONDS)
