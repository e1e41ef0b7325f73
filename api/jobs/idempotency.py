"""One request at a time per idempotency key, while its body is being received.

Owns `receiving:{...}` in the store. The ledger stores the answers to earlier requests.
"""

import re
from contextlib import suppress

import redis
from redis.exceptions import LockError
from redis.lock import Lock

from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from shared.errors import IdempotencyInFlight
from shared.ledger.records import Idempotency, idempotency_key
from shared.ledger.redis_client import translated_errors

VALID_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# Renewed as long as the request is being received, which may take most of an hour. It expires only
# if the gateway dies.
HOLD_SECONDS = 30.0
RENEW_SECONDS = 8.0


def checked_key(header: str | None) -> str | None:
    """The header's key. Raises InvalidFields unless it is 1 to 255 visible ASCII characters."""
    if header is not None and not VALID_KEY.fullmatch(header):
        detail = "must be 1 to 255 visible ASCII characters"
        raise InvalidFields([FieldProblem(pointer="/Idempotency-Key", detail=detail)])
    return header


class Gate:
    """Admits one request per client and key. Called from threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def enter(self, client: str, key: str) -> Lock:
        """Returns the lock, which is passed to `renew` and `leave`. Raises IdempotencyInFlight,
        StoreUnavailable.
        """
        # Different threads of a pool renew and leave the lock.
        lock = Lock(self._redis, _name(client, key), timeout=HOLD_SECONDS, thread_local=False)
        with translated_errors():
            if not lock.acquire(blocking=False):
                raise IdempotencyInFlight()
        return lock

    def renew(self, lock: Lock) -> None:
        """Extends the lock while the request is being received. Raises StoreUnavailable."""
        with translated_errors(), suppress(LockError):
            lock.reacquire()

    def leave(self, lock: Lock) -> None:
        """Admits the next request."""
        with translated_errors(), suppress(LockError):  # it expired while the store was away
            lock.release()


def _name(client: str, key: str) -> str:
    return "receiving:" + idempotency_key(client, Idempotency(key, ""))
