"""One request at a time per idempotency key, while its body is still on its way.

Owns `receiving:{...}` in the store. What was answered to an earlier request is in the ledger.
"""

import re
from uuid import uuid4

import redis

from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from shared.errors import IdempotencyInFlight
from shared.ledger.records import Idempotency, idempotency_key
from shared.ledger.redis_client import translated_errors

VALID_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# Longer than any upload may take; only a gateway that died leaves it to run out.
HOLD_SECONDS = 120


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

    def enter(self, client: str, key: str) -> str:
        """The token to leave with. Raises IdempotencyInFlight, StoreUnavailable."""
        token = uuid4().hex
        with translated_errors():
            if not self._redis.set(_name(client, key), token, ex=HOLD_SECONDS, nx=True):
                raise IdempotencyInFlight()
        return token

    def leave(self, client: str, key: str, token: str) -> None:
        """Let the next one in."""
        with translated_errors():
            if self._redis.get(_name(client, key)) == token:
                self._redis.delete(_name(client, key))


def _name(client: str, key: str) -> str:
    return "receiving:" + idempotency_key(client, Idempotency(key, ""))
