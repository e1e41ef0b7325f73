"""Previews on demand: asked for now, answered within seconds or dropped.

Owns the line from gateways to workers and back. A preview is not a job: nothing about it is
recorded, and every key lives for seconds. A newer request of the same session supersedes an older
one, which is answered at once with that.
"""

import time
from dataclasses import dataclass
from typing import cast

import redis
from pydantic import BaseModel, ConfigDict

from shared.errors import ERRORS, NoWorker, RetouchError, Superseded
from shared.jobs import Source
from shared.ledger.redis_client import CONNECT_SECONDS, MAX_CONNECTIONS, translated_errors
from shared.params import JobParams

# Longer than any answer is worth waiting for; what is older is not even begun.
PATIENCE_SECONDS = 5.0
KEEP_SECONDS = 10

_IMAGE = b"+"
_ERROR = b"-"


class PreviewRequest(BaseModel):
    """One preview to make: of this source, with these settled parameters."""

    model_config = ConfigDict(frozen=True)

    id: str
    source: Source
    params: JobParams
    session: str | None = None
    asked_at: float


@dataclass(frozen=True)
class PreviewLine:
    """The line of one base. Safe to share between threads."""

    client: redis.Redis
    base: str

    def ask(self, request: PreviewRequest) -> bytes:
        """Send a request and wait for its WebP bytes.

        Raises Superseded, NoWorker when nobody answers in time, and what the worker reports.
        """
        with translated_errors():
            self._supersede(request)
            with self.client.pipeline() as pipe:
                pipe.rpush(self._line, request.model_dump_json())
                pipe.expire(self._line, KEEP_SECONDS)
                pipe.execute()
            answer = self.client.blpop([_reply_key(request.id)], timeout=PATIENCE_SECONDS)
        if answer is None:
            raise NoWorker("no worker answered in time")
        return _unpacked(cast(bytes, answer[1]))

    def next(self, wait_seconds: float) -> PreviewRequest | None:
        """The next request that is still worth an answer; None when none came in time."""
        with translated_errors():
            popped = self.client.blpop([self._line], timeout=wait_seconds)
        if popped is None:
            return None
        request = PreviewRequest.model_validate_json(popped[1])
        is_stale = time.time() - request.asked_at > PATIENCE_SECONDS
        return None if is_stale or self.is_superseded(request) else request

    def is_superseded(self, request: PreviewRequest) -> bool:
        """Whether its session has asked for something newer."""
        if request.session is None:
            return False
        with translated_errors():
            newest = self.client.get(_session_key(request.session))
        return newest is not None and newest != request.id.encode()

    def answer(self, request: PreviewRequest, image: bytes) -> None:
        """Give the picture to whoever asked."""
        with translated_errors():
            self._reply(request.id, _IMAGE + image)

    def refuse(self, request: PreviewRequest, error: RetouchError) -> None:
        """Tell whoever asked why there is no picture."""
        with translated_errors():
            self._reply(request.id, _ERROR + f"{error.code}:{error}".encode())

    def _supersede(self, request: PreviewRequest) -> None:
        if request.session is None:
            return
        key = _session_key(request.session)
        older = cast(bytes | None, self.client.set(key, request.id, ex=KEEP_SECONDS, get=True))
        if older is not None:
            self._reply(older.decode(), _ERROR + f"{Superseded.code}:a newer one".encode())

    def _reply(self, request_id: str, packed: bytes) -> None:
        with self.client.pipeline() as pipe:
            pipe.rpush(_reply_key(request_id), packed)
            pipe.expire(_reply_key(request_id), KEEP_SECONDS)
            pipe.execute()

    @property
    def _line(self) -> str:
        return f"previews:{self.base}"


def open_line(redis_url: str, base: str) -> PreviewLine:
    """A line with a connection of its own kind: bytes, and patient enough for blocking reads."""
    client = redis.Redis.from_url(
        redis_url,
        socket_timeout=PATIENCE_SECONDS + 2,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_keepalive=True,
        max_connections=MAX_CONNECTIONS,
    )
    return PreviewLine(client, base)


def _unpacked(packed: bytes) -> bytes:
    if packed[:1] == _IMAGE:
        return packed[1:]
    code, _, message = packed[1:].decode().partition(":")
    raise ERRORS[code](message)


def _reply_key(request_id: str) -> str:
    return f"preview:{request_id}"


def _session_key(session: str) -> str:
    return f"preview-session:{session}"
