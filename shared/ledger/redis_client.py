"""Connections to Redis, and the one place that translates its errors into ours.

Owns time-outs and error translation. Knows nothing of jobs.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
import redis.sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, LockError, RedisError, ResponseError
from redis.retry import Retry

from shared.errors import RetouchError, StorageFull, StoreRefuses, StoreUnavailable
from shared.ledger.key_prefix import PrefixedAsyncRedis, PrefixedRedis
from shared.store_url import SentinelGroup, sentinel_group

# A caller gets "store unavailable" within two seconds, including one retry.
ANSWER_SECONDS = 1.5
CONNECT_SECONDS = 1.0
# redis-py's own limit is 100 connections; beyond it, a burst of parallel callers or followers would
# get "store unavailable" from a healthy store. Redis itself accepts 10,000.
MAX_CONNECTIONS = 1024
SENTINEL_OPTIONS = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": CONNECT_SECONDS}


def connect(url: str, answer_seconds: float = ANSWER_SECONDS, prefix: str = "") -> redis.Redis:
    """A client that fails fast. A lost connection is retried once; a time-out is not."""
    return client_for(
        url,
        prefix,
        decode_responses=True,
        max_connections=MAX_CONNECTIONS,
        socket_timeout=answer_seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_keepalive=True,
        health_check_interval=5,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), 1, (RedisConnectionError,)),
    )


def client_for(url: str, prefix: str = "", **options: Any) -> redis.Redis:
    """A client of the server at `url`, or of the primary that Sentinels name. Every key that it
    names has the prefix.
    """
    kind = PrefixedRedis if prefix else redis.Redis
    client: redis.Redis = _client(kind, redis.sentinel.Sentinel, url, options)
    _put_before(client, prefix)
    return client


def async_client_for(url: str, prefix: str = "", **options: Any) -> redis.asyncio.Redis:
    """The same for the event loop."""
    kind = PrefixedAsyncRedis if prefix else redis.asyncio.Redis
    client: redis.asyncio.Redis = _client(kind, redis.asyncio.Sentinel, url, options)
    _put_before(client, prefix)
    return client


def _client(single: Any, sentinels: Any, url: str, options: dict[str, Any]) -> Any:
    """`sentinels` is untyped in redis-py."""
    group = sentinel_group(url)
    if group is None:
        return single.from_url(url, **_fitting(url, options))
    sentinel = sentinels(group.hosts, sentinel_kwargs=SENTINEL_OPTIONS)
    return sentinel.master_for(group.name, redis_class=single, **_login(group), **options)


def _put_before(client: Any, prefix: str) -> None:
    client.key_prefix = prefix


def prefix_of(client: object) -> str:
    """What this client puts before every key."""
    return str(getattr(client, "key_prefix", ""))


def _fitting(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Without what is known of TCP alone, where the store is a socket file."""
    tcp = {"socket_keepalive", "socket_connect_timeout"} if url.startswith("unix:") else set()
    return {name: value for name, value in options.items() if name not in tcp}


def _login(group: SentinelGroup) -> dict[str, Any]:
    return {"db": group.database, "username": group.username, "password": group.password}


_CLUSTER = "it is a cluster, and retouch needs a single server"
# What a server says, by the first word of its error, and what that means to whoever runs it.
FULL = {
    "OOM": "its memory is full (maxmemory)",
    "MISCONF": "it cannot save to its disk",
}
REFUSED = {
    **dict.fromkeys(("NOAUTH", "WRONGPASS"), "the URL has no password for it, or a wrong one"),
    "NOPERM": "its user may not do what retouch needs",
    **dict.fromkeys(("MOVED", "ASK", "CROSSSLOT"), _CLUSTER),
}
AWAY = {
    "LOADING": "it is reading its data",
    "BUSY": "it is busy with a script",
    "MASTERDOWN": "its primary does not answer",
    "READONLY": "it is a replica and takes no writes",
    "NOREPLICAS": "it has too few replicas to take writes",
    **dict.fromkeys(("NOSCRIPT", "TRYAGAIN", "UNBLOCKED", "CLUSTERDOWN"), "a later try may do"),
}
_WORD = re.compile(r"\b[A-Z]{3,}\b")
_PIPELINE = " of pipeline caused error: "
# redis-py turns some first words into classes and removes the word from the message.
_WORDS_BY_CLASS: dict[type[Exception], str] = {
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.NoScriptError: "NOSCRIPT",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.AuthenticationError: "NOAUTH",
    redis.exceptions.AuthenticationWrongNumberOfArgsError: "NOAUTH",
    redis.exceptions.AuthorizationError: "NOPERM",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.AskError: "ASK",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
}


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns redis-py's errors into StoreUnavailable, StoreRefuses or StorageFull.

    An error that none of the three explains is a bug of ours and is not changed.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        ours = translated(error)
        if ours is None:
            raise
        raise ours from error


def translated(error: RedisError | OSError) -> RetouchError | None:
    """The meaning of a store's error for us; None for a bug of ours."""
    words = _words_of(error)
    if words & FULL.keys():
        return StorageFull(f"the store has no space left: {_meaning(words, FULL)}")
    if words & REFUSED.keys():
        return StoreRefuses(f"the store refuses the request: {_meaning(words, REFUSED)}")
    if words & AWAY.keys():
        return StoreUnavailable(f"the store is not ready: {_meaning(words, AWAY)}")
    if isinstance(error, ResponseError | DataError | LockError):
        return None
    return StoreUnavailable(f"the store does not answer ({type(error).__name__})")


def _meaning(words: set[str], known: Mapping[str, str]) -> str:
    word = min(words & known.keys())
    return f"{known[word]} ({word})"


def _words_of(error: Exception) -> set[str]:
    """Every word in capitals in the message, and the one that redis-py removed.

    A script puts its own words before the error, and EXECABORT names the reason for the abort in
    the middle of its message. A pipeline puts the command before the error, which may contain any
    word.
    """
    message = str(error).rpartition(_PIPELINE)[2]
    by_class = (word for kind, word in _WORDS_BY_CLASS.items() if type(error) is kind)
    return {*_WORD.findall(message), *by_class}
