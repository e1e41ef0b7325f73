"""Every error of the store is one of three: it is away, it refuses, or it is full."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import DataError, ResponseError, WatchError
from redis.retry import Retry

from shared.errors import RetouchError, StorageFull, StoreRefuses, StoreUnavailable
from shared.ledger.redis_client import translated_errors

AWAY = (
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "READONLY You can't write against a read only replica.",
    "NOREPLICAS Not enough good replicas to write.",
    "NOSCRIPT No matching script. Please use EVAL.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.",
)
REFUSES = (
    "NOPERM User app has no permissions to run the 'info' command",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "ERR User app has no permissions: NOPERM. script: 6f1ed, on @user_script:3.",
)
FULL = (
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
)
CASES = [
    *((text, StoreUnavailable) for text in AWAY),
    *((text, StoreRefuses) for text in REFUSES),
    *((text, StorageFull) for text in FULL),
]


@contextmanager
def answering(text: str) -> Iterator[redis.Redis]:
    """A store that greets like one, and answers every other command with this error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, text))
        thread.start()
        port = server.getsockname()[1]
        with redis.Redis(port=port, protocol=2, retry=Retry(NoBackoff(), 0)) as client:
            yield client
        thread.join(timeout=5)


def _serve(server: socket.socket, text: str) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as lines:
        while (head := lines.readline()).startswith(b"*"):
            words = [(lines.readline(), lines.readline())[1].strip() for _ in range(int(head[1:]))]
            is_greeting = words[0] in (b"MULTI", b"CLIENT")
            answer = b"+OK" if is_greeting else b"-" + text.encode()
            connection.sendall(answer + b"\r\n")


@pytest.mark.parametrize(("text", "kind"), CASES)
def test_an_error_is_known_whether_alone_in_a_pipeline_or_in_a_transaction(
    text: str, kind: type[RetouchError]
) -> None:
    def alone(client: redis.Redis) -> None:
        client.set("a", 1)

    def script(client: redis.Redis) -> None:
        client.eval("return 1", 0)

    def pipeline(client: redis.Redis) -> None:
        with client.pipeline(transaction=False) as pipe:
            pipe.set("a", 1).get("b").execute()

    def transaction(client: redis.Redis) -> None:
        with client.pipeline(transaction=True) as pipe:
            pipe.set("a", 1).get("b").execute()

    for way in (alone, script, pipeline, transaction):
        with answering(text) as client, pytest.raises(kind) as raised, translated_errors():
            way(client)
        assert type(raised.value) is kind, way.__name__


def test_words_of_the_command_are_not_taken_for_the_error() -> None:
    with (
        answering("ERR value is not an integer or out of range") as client,
        pytest.raises(ResponseError),
        translated_errors(),
        client.pipeline(transaction=False) as pipe,
    ):
        pipe.set("NOPERM", "OOM READONLY").execute()


@pytest.mark.parametrize("error", [DataError("a dict"), ResponseError("WRONGTYPE Operation")])
def test_our_own_mistakes_are_not_the_store_s_troubles(error: Exception) -> None:
    with pytest.raises(type(error)), translated_errors():
        raise error


@pytest.mark.parametrize("error", [WatchError("changed"), ConnectionResetError(), TimeoutError()])
def test_whatever_else_comes_from_the_store_means_that_it_is_away(error: Exception) -> None:
    with pytest.raises(StoreUnavailable), translated_errors():
        raise error


def test_a_store_that_refuses_is_unavailable_to_whoever_asks() -> None:
    assert issubclass(StoreRefuses, StoreUnavailable)
    assert StoreRefuses.code == "store_unavailable"
