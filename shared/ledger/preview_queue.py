"""Previews on demand: answered within seconds or dropped.

Owns the queue from gateways to workers and back. A preview is not a job: nothing about it is
recorded, and every key lives for seconds. A newer request of the same session supersedes an older
one, which is answered with that error at once.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import redis
import structlog

from shared.bases import family_of_name
from shared.errors import ERRORS, InternalError, NoWorker, RetouchError, Superseded
from shared.jobs import Source
from shared.ledger.redis_client import (
    CONNECT_SECONDS,
    MAX_CONNECTIONS,
    client_for,
    translated_errors,
)
from shared.params import JobParams
from shared.record import Record
from shared.settings import Settings

logger = structlog.get_logger(__name__)

# Longer than anyone waits for an answer; an older request is not even started.
PATIENCE_SECONDS = 5.0
KEEP_SECONDS = 10

_IMAGE = b"+"
_ERROR = b"-"


class PreviewRequest(Record):
    """One preview to make: of this source, with these settled parameters. `asked_at` is the store's
    time in seconds, set by the queue.
    """

    id: str
    source: Source
    params: JobParams
    session: str | None = None
    asked_at: float = 0.0


class Pending(NamedTuple):
    """A request, and for how long an answer is still awaited."""

    request: PreviewRequest
    seconds: float


@dataclass(frozen=True)
class PreviewLine:
    """The preview queues of all bases; `base` is the one that a worker serves. Safe to share
    between threads.
    """

    client: redis.Redis
    base: str

    def ask(self, request: PreviewRequest, base: str = "") -> bytes:
        """Sends a request to the workers of a base and waits for its WebP bytes.

        Raises Superseded, NoWorker when no worker answers in time, and the worker's error.
        """
        with translated_errors():
            self._supersede(request)
            asked = request.model_copy(update={"asked_at": self._now()})
            with self.client.pipeline() as pipe:
                pipe.rpush(_line_key(base or self.base), asked.stored())
                pipe.expire(_line_key(base or self.base), KEEP_SECONDS)
                pipe.execute()
            answer = self.client.blpop([_reply_key(request.id)], timeout=PATIENCE_SECONDS)
        if answer is None:
            raise NoWorker("no worker answered in time")
        return _unpacked(cast(bytes, answer[1]))

    def next(self, wait_seconds: float) -> Pending | None:
        """The next request that is still awaited; None if none arrived in time."""
        with translated_errors():
            popped = self.client.blpop(self._lines, timeout=wait_seconds)
            request = _readable(popped[1]) if popped else None
            if request is None:
                return None
            # Only the store's clock is used: the gateway's and the worker's clocks may be minutes
            # apart.
            seconds = PATIENCE_SECONDS - (self._now() - request.asked_at)
        if seconds <= 0 or self.is_superseded(request):
            return None
        if request.params.strange:
            self.refuse(request, NoWorker("the worker has an older version"))
            return None
        return Pending(request, seconds)

    def is_superseded(self, request: PreviewRequest) -> bool:
        """Whether its session has sent a newer request."""
        if request.session is None:
            return False
        with translated_errors():
            newest = self.client.get(_session_key(request.session))
        return newest is not None and newest != request.id.encode()

    def answer(self, request: PreviewRequest, image: bytes) -> None:
        """Sends the picture to the requester."""
        with translated_errors():
            self._reply(request.id, _IMAGE + image)

    def refuse(self, request: PreviewRequest, error: RetouchError) -> None:
        """Tells the requester why there is no picture."""
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

    def _now(self) -> float:
        seconds, microseconds = self.client.time()
        return seconds + microseconds / 1e6

    @property
    def _lines(self) -> list[str]:
        """The base's own, and that of its family, which gateways of earlier versions use."""
        names = dict.fromkeys([self.base, family_of_name(self.base).id])
        return [_line_key(name) for name in names]


def open_line(settings: Settings, base: str) -> PreviewLine:
    """A queue with its own kind of connection: it returns bytes, and its time-out allows blocking
    reads.
    """
    client = client_for(
        settings.redis_url,
        settings.key_prefix,
        socket_timeout=PATIENCE_SECONDS + 2,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_keepalive=True,
        max_connections=MAX_CONNECTIONS,
    )
    return PreviewLine(client, base)


def _readable(text: bytes | str) -> PreviewRequest | None:
    """None for a request that cannot be parsed: its requester gives up after the usual time."""
    try:
        return PreviewRequest.read(text)
    except ValueError as error:
        logger.error("a preview request is unreadable", reason=str(error))
        return None


def _unpacked(packed: bytes) -> bytes:
    if packed[:1] == _IMAGE:
        return packed[1:]
    code, _, message = packed[1:].decode().partition(":")
    raise ERRORS.get(code, InternalError)(message)


def _line_key(base: str) -> str:
    return f"previews:{base}"


def _reply_key(request_id: str) -> str:
    return f"preview:{request_id}"


def _session_key(session: str) -> str:
    return f"preview-session:{session}"
