"""Whether a store can be relied on, asked when a process starts: its kind, version and settings.

Owns the sentences. What can be told only by INFO is left out where the store's user may not ask.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import redis

from shared.errors import StoreRefuses
from shared.ledger.redis_client import translated_errors

# Scripts begin with `#!lua flags=`, which older servers cannot read.
LEAST_VERSION = (7, 0)
NO_FILE = (
    "the store has no append-only file: jobs accepted since its last snapshot are lost when it "
    "ends (appendonly yes)"
)


def examine_store(client: redis.Redis) -> list[str]:
    """What to warn of. Raises StoreRefuses with a sentence, StoreUnavailable, StorageFull."""
    facts = _facts(client)
    for reason in (_kind(facts), _version(facts), _eviction(facts)):
        if reason:
            raise StoreRefuses(reason)
    _try_commands(client)
    return [NO_FILE] if facts.get("aof_enabled") == 0 else []


def _facts(client: redis.Redis) -> Mapping[str, Any]:
    try:
        with translated_errors():
            facts: Mapping[str, Any] = client.info()
            return facts
    except StoreRefuses as error:
        if isinstance(error.__cause__, redis.exceptions.NoPermissionError):
            return {}
        raise


def _kind(facts: Mapping[str, Any]) -> str | None:
    if facts.get("cluster_enabled") == 1 or facts.get("redis_mode") == "cluster":
        return "the store is a Redis Cluster; retouch needs a single server, or Sentinel"
    return None


def _version(facts: Mapping[str, Any]) -> str | None:
    said = str(facts.get("redis_version", ""))
    numbers = tuple(int(part) for part in said.split(".")[:2] if part.isdigit())
    if numbers and numbers < LEAST_VERSION:
        return f"the store is Redis {said}; retouch needs Redis 7.0 or newer, or Valkey"
    return None


def _eviction(facts: Mapping[str, Any]) -> str | None:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return (
            f"the store's maxmemory-policy is {policy}, which deletes accepted jobs when memory is "
            "short; set it to noeviction"
        )
    return None


def _try_commands(client: redis.Redis) -> None:
    """One command of every kind that the ledger uses, on keys that live for a second."""
    key = f"probe:{uuid4().hex}"
    try:
        with translated_errors():
            client.set(key, 1, px=1000)
            client.eval("return redis.call('TIME')", 0)
            for kind, begin in _BEGINNINGS.items():
                begin(client, f"{key}:{kind}")
                client.pexpire(f"{key}:{kind}", 1000)
            client.xread({f"{key}:stream": "0"}, count=1)
            client.publish(key, "")
    except StoreRefuses as error:
        if not isinstance(error.__cause__, redis.exceptions.NoPermissionError):
            raise
        raise StoreRefuses(
            f"{error} ({error.__cause__}); docs/operations.md has the ACL line"
        ) from error


_BEGINNINGS: dict[str, Any] = {
    "hash": lambda client, key: client.hset(key, "a", 1),
    "list": lambda client, key: client.rpush(key, 1),
    "set": lambda client, key: client.sadd(key, 1),
    "sorted": lambda client, key: client.zadd(key, {"a": 1}),
    "stream": lambda client, key: client.xadd(key, {"a": 1}),
}
