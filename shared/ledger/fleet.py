"""The live workers: each worker process announces itself, and only recent announcements are shown.

Owns `worker:{id}`, and `base:{name}`, which exists while a worker serves that base and holds the
fingerprint of its weights. Knows nothing of the workers' jobs.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import redis
import structlog

from shared.base_defaults import BaseDefaults
from shared.ledger.redis_client import translated_errors
from shared.record import Record

logger = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 2.0
FRESH_SECONDS = 10
DIGEST_LENGTH = 16


class WorkerInfo(Record):
    """A worker's description in each heartbeat.

    `base` is the name of its base, `fingerprint` identifies that base's weights, and
    `base_defaults` are the settings that the base's own settings file names. `loop_failures` counts
    the failed rounds of its background loops, by name. `loras` are the beginnings of its LoRA
    files' sha256.
    """

    id: str
    host: str
    pid: int
    device: str
    base: str
    fingerprint: str = ""
    base_defaults: BaseDefaults = BaseDefaults()
    profile: str
    residency: dict[str, Any] = {}
    in_flight: int = 0
    loop_failures: dict[str, int] = {}
    loras: list[str] = []
    last_heartbeat_at: datetime


class Fleet:
    """The workers that have announced themselves within the last ten seconds."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def announce(self, worker: WorkerInfo) -> None:
        """Records that a worker is alive, for the next ten seconds."""
        with translated_errors(), self._redis.pipeline() as pipe:
            pipe.set(f"worker:{worker.id}", worker.stored(), ex=FRESH_SECONDS)
            pipe.set(_base_key(worker.base), worker.fingerprint, ex=FRESH_SECONDS)
            pipe.sadd("workers", worker.id)
            pipe.expire("workers", 86_400)
            pipe.execute()

    def reserve(self, base: str, fingerprint: str) -> str | None:
        """Reserves a base's name for weights with this fingerprint, as `announce` does; returns the
        fingerprint of those that have the name if they are others.
        """
        with translated_errors():
            key = _base_key(base)
            held = self._redis.set(key, fingerprint, nx=True, get=True, ex=FRESH_SECONDS)
        other = cast(str | None, held)
        return other if other and fingerprint and other != fingerprint else None

    def withdraw(self, worker_id: str) -> None:
        """Records that a worker has stopped."""
        with translated_errors(), self._redis.pipeline() as pipe:
            pipe.delete(f"worker:{worker_id}")
            pipe.srem("workers", worker_id)
            pipe.execute()

    def workers(self) -> list[WorkerInfo]:
        """Every worker with a recent heartbeat, by id."""
        with translated_errors():
            ids = sorted(str(member) for member in self._redis.smembers("workers"))
            if not ids:
                return []
            rows = self._redis.mget([f"worker:{worker_id}" for worker_id in ids])
            stale = [worker_id for worker_id, row in zip(ids, rows, strict=True) if row is None]
            if stale:
                self._redis.srem("workers", *stale)
        return [worker for row in rows if row is not None and (worker := _readable(row))]


def announced(digests: Iterable[str | None]) -> list[str]:
    """Digests as heartbeats have them: short, since a worker may have hundreds of files."""
    return sorted({digest[:DIGEST_LENGTH] for digest in digests if digest})


def _base_key(base: str) -> str:
    return f"base:{base}"


def _readable(row: Any) -> WorkerInfo | None:
    try:
        return WorkerInfo.read(row)
    except ValueError as error:
        logger.error("a heartbeat is unreadable", reason=str(error))
        return None


def now() -> datetime:
    """The time for a heartbeat's stamp. Only people read it: nothing is decided by it."""
    return datetime.now(UTC)
