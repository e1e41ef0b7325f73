"""Connections to Redis, and the one place that translates its errors into ours.

Owns time-outs and error translation. Knows nothing of jobs.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, LockError, RedisError, ResponseError
from redis.retry import Retry

from shared.errors import RetouchError, StorageFull, StoreRefuses, StoreUnavailable

# A caller gets "store unavailable" within two seconds, including one retry.
ANSWER_SECONDS = 1.5
CONNECT_SECONDS = 1.0
# redis-py's own limit is 100 connections; beyond it, a burst of parallel callers or followers would
# get "store unavailable" from a healthy store. Redis itself accepts 10,000.
MAX_CONNECTIONS = 1024


def connect(url: str, answer_seconds: float = ANSWER_SECONDS) -> redis.Redis:
    """A client that fails fast. A lost connection is retried once; a time-out is not."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        max_connections=MAX_CONNECTIONS,
        socket_timeout=answer_seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_keepalive=True,
        health_check_interval=5,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), 1, (RedisConnectionError,)),
    )


# A server's error, by its first word.
FULL = frozenset({"OOM", "MISCONF"})
AWAY = frozenset(
    {
        *("LOADING", "BUSY", "MASTERDOWN", "READONLY", "NOREPLICAS", "NOSCRIPT"),
        *("TRYAGAIN", "UNBLOCKED", "CLUSTERDOWN"),
    }
)
REFUSED = frozenset({"NOPERM", "NOAUTH", "WRONGPASS", "MOVED", "ASK", "CROSSSLOT"})
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
    if words & FULL:
        return StorageFull("the store has no space left")
    if words & REFUSED:
        return StoreRefuses(f"the store refuses the request ({', '.join(sorted(words & REFUSED))})")
    if words & AWAY:
        return StoreUnavailable(f"the store is not ready ({', '.join(sorted(words & AWAY))})")
    if isinstance(error, ResponseError | DataError | LockError):
        return None
    return StoreUnavailable(f"the store does not answer ({type(error).__name__})")


def _words_of(error: Exception) -> set[str]:
    """Every word in capitals in the message, and the one that redis-py removed.

    A script puts its own words before the error, and EXECABORT names the reason for the abort in
    the middle of its message. A pipeline puts the command before the error, which may contain any
    word.
    """
    message = str(error).rpartition(_PIPELINE)[2]
    by_class = (word for kind, word in _WORDS_BY_CLASS.items() if type(error) is kind)
    return {*_WORD.findall(message), *by_class}
