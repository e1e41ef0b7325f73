"""Strikes against a LoRA: hits of the output guards and reports of callers, and their consequence.

Owns `lora:{sha256}:strikes`, with `:photos` and `:senders`, and `loras:suspended`. A file is
identified by its bytes, so that renaming does not clear it, and a new file under an old name starts
without strikes.
shared/loras/release.py owns how a person releases a suspended file.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import redis
import structlog

from shared.jobs import JobSpec
from shared.ledger.redis_client import translated_errors
from shared.ledger.scripts import Scripts
from shared.params import LoraRef
from shared.settings import Settings

# Extended by every read, so that only a service that nobody runs forgets.
REMEMBERED_SECONDS = 400 * 86_400
_SUSPENDED = "loras:suspended"

logger = structlog.get_logger(__name__)


class Suspension(NamedTuple):
    """A suspended file: its name at the time, and its number of strikes, or the layer at which a
    worker could not load it.
    """

    name: str
    strikes: int
    layer: str = ""


class Strikes:
    """Counts strikes, and suspends a file at the limit. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._scripts = Scripts(client)
        self._limit = settings.lora_strikes
        self._ttl = settings.lora_strikes_seconds

    def count(self, loras: Sequence[LoraRef], job: JobSpec, why: str) -> None:
        """Counts one job against these LoRAs. A photo counts once, and so does a sender: one person
        with one photo cannot take a LoRA from everybody.

        Raises StoreUnavailable, StorageFull.
        """
        for lora in loras:
            if lora.sha256 is not None:
                self._count(lora.name, lora.sha256, job, why)

    def _count(self, name: str, sha256: str, job: JobSpec, why: str) -> None:
        limits = self._limit, self._ttl, REMEMBERED_SECONDS
        photo, sender = job.source.image_id, job.sender or job.client
        strikes, has_counted, suspended_now = self._scripts.run(
            "strike", sha256, job.id, name, *limits, photo, sender
        )
        log = logger.bind(lora=name, sha256=sha256, strikes=strikes, why=why)
        if has_counted:
            log.warning("a LoRA has a strike", job=job.id)
        else:
            log.info("this photo or sender has counted already", job=job.id)
        if suspended_now:
            log.error(
                "a LoRA is suspended; to offer it again, add its sha256 to [released] in "
                "loras.lock.toml in the LoRA folder"
            )

    def suspended(self) -> dict[str, Suspension]:
        """Every suspended file by its sha256. Raises StoreUnavailable."""
        with translated_errors(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(_SUSPENDED)
            pipe.expire(_SUSPENDED, REMEMBERED_SECONDS)
            rows, _ = pipe.execute()
        return {sha256: _read_suspension(text) for sha256, text in rows.items()}


def _read_suspension(text: str) -> Suspension:
    fields = json.loads(text)
    return Suspension(fields["name"], fields["strikes"])
