"""Connections to Redis, and the one place where its errors become ours.

Owns timeouts and error translation. Knows nothing of jobs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry

from shared.errors import StorageFull, StoreUnavailable

# A caller hears "store unavailable" within two seconds, a retry included.
ANSWER_SECONDS = 1.5
CONNECT_SECONDS = 1.0
# redis-py's own cap is 100 connections, after which a burst of parallel callers or followers would
# hear "store unavailable" from a healthy store. Redis itself takes 10,000.
MAX_CONNECTIONS = 1024


def connect(url: str, answer_seconds: float = ANSWER_SECONDS) -> redis.Redis:
    """A client that fails fast. A lost connection is tried once more; a time-out is not."""
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


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailable or StorageFull."""
    try:
        yield
    except OutOfMemoryError as error:
        raise StorageFull("the store has no memory left") from error
    except ResponseError as error:
        if "OOM" in str(error) or "MISCONF" in str(error):
            raise StorageFull("the store refuses writes") from error
        if str(error).startswith(("LOADING", "BUSY", "MASTERDOWN", "READONLY")):
            raise StoreUnavailable(f"the store is not ready: {error}") from error
        raise
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store does not answer ({type(error).__name__})") from error
