"""LoRAs that the catalogue offered but a worker could not load; no further job gets them.

Owns `loras:failed:{base}`. A file is identified by its bytes, so a repaired file is not affected.
An entry expires after a day, since a newer release may be able to load the file.
"""

import json

import redis

from shared.errors import LoraCorrupt
from shared.ledger.redis_client import translated_errors
from shared.ledger.strikes import Suspension

REMEMBERED_SECONDS = 86_400


class LoraFailures:
    """The LoRAs that workers of these families could not load; `note` records for the first. Safe
    to share between threads.
    """

    def __init__(self, client: redis.Redis, *bases: str) -> None:
        self._redis = client
        self._keys = [f"loras:failed:{base}" for base in bases]

    def note(self, error: LoraCorrupt) -> None:
        """Records the file and the layer that failed. Raises StoreUnavailable, StorageFull."""
        if not error.sha256:
            return
        with translated_errors(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(self._keys[0], error.sha256, json.dumps(error.layer))
            pipe.expire(self._keys[0], REMEMBERED_SECONDS)
            pipe.execute()

    def failed(self) -> dict[str, Suspension]:
        """Every such file by its sha256. Raises StoreUnavailable."""
        with translated_errors(), self._redis.pipeline(transaction=False) as pipe:
            for key in self._keys:
                pipe.hgetall(key)
            found: list[dict[str, str]] = pipe.execute()
        rows = (item for each in found for item in each.items())
        return {sha256: Suspension("", 0, json.loads(text)) for sha256, text in rows}
