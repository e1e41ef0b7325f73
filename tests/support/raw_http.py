"""HTTP as a hostile sender uses it: bytes on a socket, and the answer."""

import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = b"x"
CLOSING = b"--x--\r\n"


@dataclass(frozen=True)
class Answer:
    """A status (0 when there was none), headers by lower-case name, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The problem's code."""
        problem: dict[str, Any] = json.loads(self.body)
        return str(problem["code"])


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """One part of a form whose boundary is x."""
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def request(
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    kind: str = "multipart/form-data; boundary=x",
    length: str | None = None,
    headers: Iterable[str] = (),
) -> bytes:
    """A whole request; `length` is the stated length of the body, which may be false; '' omits
    it.
    """
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if method == "POST":
        lines.append(f"Content-Type: {kind}")
        told = str(len(body)) if length is None else length
        lines += [f"Content-Length: {told}"] if told else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(pieces: Iterable[bytes]) -> bytes:
    """A body whose length is not stated beforehand."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def exchange(url: str, data: bytes, seconds: float = 20.0) -> Answer:
    """Sends everything that is accepted; returns the first answer."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 80))) as connection:
        connection.settimeout(seconds)
        with suppress(OSError):  # the server may already have closed the connection
            connection.sendall(data)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    """The next answer on a connection; status 0 when it is closed instead."""
    heard = b""
    while b"\r\n\r\n" not in heard or len(_body(heard)) < _length(heard):
        try:
            data = connection.recv(65536)
        except ConnectionError:
            break
        if not data:
            break
        heard += data
    if b"\r\n\r\n" not in heard:
        return Answer(0, {}, heard)
    first, *lines = heard.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, _body(heard)[: _length(heard)])


def _body(heard: bytes) -> bytes:
    return heard.partition(b"\r\n\r\n")[2]


def _length(heard: bytes) -> int:
    for line in heard.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length: "):
            return int(line.removeprefix(b"content-length: "))
    return 0
