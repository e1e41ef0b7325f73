"""Connections that give nothing and take their time are closed."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import pytest
import redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as open_socket

import api.intake.upload
import api.server.connection
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.gateways import serving_thread
from tests.support.jobs import make_spec
from tests.support.pictures import photo
from tests.support.raw_http import read_answer

# Between the test's patience of one second and the shipped one of twenty.
CUT_OFF_SECONDS = 15.0


@pytest.fixture
def address(
    make_settings: Callable[..., Settings],
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[str, int]]:
    """A gateway whose patience is a second instead of most of a minute."""
    del redis_client
    monkeypatch.setattr("api.server.connection.HEADER_SECONDS", 1.0)
    monkeypatch.setattr("api.intake.upload.PATIENCE_SECONDS", 1.0)
    with serving_thread(make_settings()) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), int(parts.port or 0)


def closed_after(connection: socket.socket, drip: bytes) -> tuple[float, bytes]:
    """Send one byte now and then until the other side closes; seconds, and what it said."""
    started, heard = time.monotonic(), b""
    connection.settimeout(0.2)
    while time.monotonic() - started < CUT_OFF_SECONDS + 10:
        try:
            connection.sendall(drip)
            data = connection.recv(65536)
            heard += data
            if not data:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - started, heard


def test_headers_that_do_not_end_are_cut_off(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")

        seconds, _ = closed_after(connection, b"A: b\r\n")

    assert seconds < CUT_OFF_SECONDS


def test_a_body_that_drips_is_cut_off_in_words(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )

        seconds, heard = closed_after(connection, b"A")

    assert seconds < CUT_OFF_SECONDS
    assert b" 400 " in heard.split(b"\r\n")[0]
    assert b"malformed_multipart" in heard


def test_a_body_that_never_comes_is_cut_off(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(
            b"POST /v1/images HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )

        seconds, heard = closed_after(connection, b"")

    assert seconds < CUT_OFF_SECONDS
    assert b"malformed_multipart" in heard


def test_a_length_over_the_limit_is_refused_before_the_body(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        _, heard = closed_after(connection, b"")

    assert b" 413 " in heard.split(b"\r\n")[0]
    assert b"payload_too_large" in heard
    assert b"application/problem+json" in heard


def test_a_second_request_s_headers_are_cut_off_too(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection).status == 200
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")

        seconds, _ = closed_after(connection, b"A: b\r\n")

    assert seconds < CUT_OFF_SECONDS


def test_json_that_drips_is_cut_off_in_words(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(
            b"POST /v1/previews HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )

        seconds, heard = closed_after(connection, b" ")

    assert seconds < CUT_OFF_SECONDS
    assert b"malformed_request" in heard


def test_one_connection_too_many_is_told_when_to_come_again(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.server.connection.MAX_CONNECTIONS", 2)
    with (
        socket.create_connection(address),
        socket.create_connection(address) as second,
        socket.create_connection(address) as third,
    ):
        answer = read_answer(third)
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")

        assert (answer.status, answer.code) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) > 0
        assert read_answer(second).status == 200


def test_a_quiet_socket_outlives_the_patience_for_headers(
    address: tuple[str, int], store: JobStore
) -> None:
    spec = make_spec()
    store.submit(spec)
    with open_socket(f"ws://{address[0]}:{address[1]}/v1/jobs/{spec.id}/socket") as socket:
        socket.recv(timeout=10)
        with pytest.raises(TimeoutError):
            socket.recv(timeout=2.5)  # two and a half times as long as headers may take
        store.cancel(spec.id)
        assert '"canceled"' in str(socket.recv(timeout=10))


def test_a_talkative_socket_is_let_go(address: tuple[str, int]) -> None:
    url = f"http://{address[0]}:{address[1]}"
    files = {"image": ("p.jpg", photo())}
    job = httpx2.post(f"{url}/v1/jobs", files=files, data={"lora": "none"}).json()

    with open_socket(url.replace("http", "ws") + job["links"]["socket"]) as talker:
        talker.recv()
        with suppress(ConnectionClosed):
            for _ in range(200):
                talker.send("x")
                talker.ping().wait(1)
        assert talker.close_code == 1000


def test_the_patience_of_a_deployment_is_within_half_a_minute() -> None:
    assert api.server.connection.HEADER_SECONDS <= 30
    assert api.intake.upload.PATIENCE_SECONDS <= 30
