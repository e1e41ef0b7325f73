"""One request at a time per idempotency key, while its body is still on its way.

Owns `receiving:{...}` in the store. What was answered to an earlier request is in the ledger.
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
# Renewed for as long as the request is received, which may be most of an hour; only a gateway that
# died leaves it to run out.
HOLD_SECONDS = 30.0
RENEW_SECONDS = 8.0


def checked_key(header: str | None) -> str | None:
    """The header's key. Raises InvalidFields when it is not 1 to 255 visible ASCII characters."""
    if header is not None and not VALID_KEY.fullmatch(header):
        detail = "must be 1 to 255 visible ASCII characters"
        raise InvalidFields([FieldProblem(pointer="/Idempotency-Key", detail=detail)])
    return header


class Gate:
    """Lets one request per client and key through. Called from threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def enter(self, client: str, key: str) -> Lock:
        """The lock to renew and to leave with. Raises IdempotencyInFlight, StoreUnavailable."""
        # Threads of a pool do the renewing and the leaving.
        lock = Lock(self._redis, _name(client, key), timeout=HOLD_SECONDS, thread_local=False)
        with translated_errors():
            if not lock.acquire(blocking=False):
                raise IdempotencyInFlight()
        return lock

    def renew(self, lock: Lock) -> None:
        """The request is still on its way. Raises StoreUnavailable."""
        with translated_errors(), suppress(LockError):
            lock.reacquire()

    def leave(self, lock: Lock) -> None:
        """Let the next one in."""
        with translated_errors(), suppress(LockError):  # it ran out while the store was away
            lock.release()


def _name(client: str, key: str) -> str:
    return "receiving:" + idempotency_key(client, Idempotency(key, ""))
