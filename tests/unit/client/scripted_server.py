"""A real HTTP server on the loopback address that answers by a script and remembers requests."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import isasyncgen
from typing import Any

from retouch import AsyncClient, Client


@dataclass(frozen=True)
class Answer:
    """One scripted answer. `cut` closes the connection in the middle of the body, after a wait.

    `pulses` comment lines, 20 ms apart, are what a quiet stream of events sends.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    wait_seconds: float = 0.0
    pulses: int = 0


@dataclass(frozen=True)
class Seen:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """Answers each route's requests in turn; the last answer of a route repeats."""

    def __init__(self, script: dict[str, list[Answer]]) -> None:
        self.seen: list[Seen] = []
        self._script = {route: list(answers) for route, answers in script.items()}
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                headers = {key.lower(): value for key, value in self.headers.items()}
                server.reply(self, Seen(self.command, self.path, headers, body))

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def reply(self, handler: BaseHTTPRequestHandler, seen: Seen) -> None:
        answer = self._next(seen)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.cut:
            handler.send_header("Content-Length", str(len(answer.body) + 1000))
        handler.end_headers()
        handler.wfile.write(answer.body)
        handler.wfile.flush()
        with suppress(ConnectionError):
            for _ in range(answer.pulses):
                time.sleep(0.02)
                handler.wfile.write(b": pulse\n\n")
        time.sleep(answer.wait_seconds)

    def requests(self, route: str) -> list[Seen]:
        """What came in for `METHOD /path`."""
        return [seen for seen in self.seen if f"{seen.method} {seen.path}" == route]

    def _next(self, seen: Seen) -> Answer:
        route = f"{seen.method} {seen.path}"
        with self._lock:
            self.seen.append(seen)
            answers = self._script.get(route, [problem(404, "not_found")])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    @contextmanager
    def running(self) -> Iterator["ScriptedServer"]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()


class Awaited:
    """An AsyncClient whose methods are run to their end: both clients then pass the same tests."""

    def __init__(self, url: str, **arguments: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, **arguments)

    def __enter__(self) -> "Awaited":
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            result = getattr(self._client, name)(*arguments, **named)
            return self._runner.run(_listed(result) if isasyncgen(result) else result)

        return call


async def _listed(values: Any) -> list[Any]:
    return [value async for value in values]


CLIENTS = {"blocking": Client, "asynchronous": Awaited}
client_kind: Any = Client


@contextmanager
def served(
    script: dict[str, list[Answer]], **client_arguments: Any
) -> Iterator[tuple[ScriptedServer, Any]]:
    """A running server and a client of it; with the fixture `each_client`, of either kind."""
    server = ScriptedServer(script)
    with server.running(), client_kind(server.url, **client_arguments) as client:
        yield server, client


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(
        status, json.dumps(value).encode(), {"Content-Type": "application/json"} | headers
    )


def problem(status: int, code: str, *, retry_after: str | None = None) -> Answer:
    body = {"code": code, "status": status, "detail": f"{code} happened.", "advice": "Do better.",
            "retryable": status >= 429}  # fmt: skip
    headers = {"Content-Type": "application/problem+json"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Answer(status, json.dumps(body).encode(), headers)


def event(number: int, kind: str, **data: Any) -> bytes:
    return f"id: {number}-0\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*events: bytes, cut: bool = False) -> Answer:
    return Answer(200, b"".join(events), {"Content-Type": "text/event-stream"}, cut)


def job(state: str = "queued", **fields: Any) -> dict[str, Any]:
    return {"id": "j1", "state": state, "progress": {"percent": 0.0}} | fields
