"""Following a job: a snapshot, then every event of its stream, until the last one.

Owns the connection that waits on streams and the rules of resuming. The routes own the format of
events.
"""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from api.access.places import Place, Places
from api.jobs.ownership import checked_id, owned
from shared.errors import JobNotFound, Overloaded, RateLimited, StoreUnavailable
from shared.jobs import Event, EventKind, Job
from shared.ledger.records import read_event
from shared.ledger.redis_client import CONNECT_SECONDS, MAX_CONNECTIONS, async_client_for
from shared.ledger.store import JobStore
from shared.settings import Settings

# Length of one wait on a stream: short, so that a stopping gateway can release its followers.
BLOCK_MS = 1000
# Of that many waits without an answer, one is followed by a look at the job itself.
LOOK_EVERY = 5
# Length of silence after which a proxy may close the connection.
PULSE_SECONDS = 15.0
OUTAGE_PAUSE_SECONDS = 0.5
# Followers whose job is read at a time.
ATTACHING = 8
FIRST_ID = "0-0"
LARGEST_SEQUENCE = 2**64 - 1
EVENT_ID = re.compile(r"(\d{1,18})-(\d{1,20})")

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """The current state of the job, and the id of the last event that it includes."""

    id: str
    job: Job


class Heartbeat:
    """Sent when nothing has happened for a while: the connection is still alive."""


Followed = Snapshot | Event | Heartbeat


class Followers:
    """Follows jobs with one pool of asyncio connections. Used on the event loop only."""

    def __init__(
        self, settings: Settings, store: JobStore, stopping: threading.Event, places: Places
    ) -> None:
        self._redis = async_client_for(
            settings.redis_url,
            settings.key_prefix,
            decode_responses=True,
            socket_timeout=BLOCK_MS / 1000 + 4,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_keepalive=True,
            max_connections=MAX_CONNECTIONS,
        )
        self._store = store
        self._stopping = stopping
        self._places = places
        self._attaching = CapacityLimiter(ATTACHING)

    async def close(self) -> None:
        await self._redis.aclose()

    async def start(
        self, client: str, job_id: str, last_event_id: str | None, place: str = ""
    ) -> "Start":
        """Determines where a follower of this client's job begins, and takes a place for it.
        `follow` gives the place back at its end; a caller who does not follow must give it back.
        `place` says whose it is, if not the client's.

        Raises JobNotFound both for another client's job and for one that never existed,
        ResultExpired, Overloaded, RateLimited, StoreUnavailable.
        """
        # In few threads of their own: hundreds at once do not take those of other requests.
        job, newest = await to_thread.run_sync(
            self._store.snapshot, checked_id(job_id), limiter=self._attaching
        )
        owned(job, client)
        # The last event of a finished job is repeated, since it must arrive in any case.
        reflected = just_before(newest) if job.state.is_terminal else newest
        is_over = job.state.is_terminal and last_event_id == newest
        if last_event_id and (is_over or await self._can_resume(job_id, last_event_id, newest)):
            return Start(job, None, last_event_id, is_over, self._places.take(place or client))
        snapshot, taken = Snapshot(reflected, job), self._places.take(place or client)
        return Start(job, snapshot, reflected, is_over=False, place=taken)

    async def follow(self, start: "Start") -> AsyncIterator[Followed]:
        """Yields the snapshot of `start`, then events up to the last one, with heartbeats."""
        with start.place:
            async for item in self._follow(start):
                yield item

    async def _follow(self, start: "Start") -> AsyncIterator[Followed]:
        if start.snapshot is not None:
            yield start.snapshot
        if start.job.state.is_terminal:
            for event in await self._without_stream(start.job.id) or ():
                yield event
                return
        position, quiet_since = start.position, asyncio.get_running_loop().time()
        while not start.is_over and not self._stopping.is_set():
            events = await self._next(start.job.id, position)
            for event in events:
                position = event.id
                yield event
                if event.is_last:
                    return
            now = asyncio.get_running_loop().time()
            if events:
                quiet_since = now
            elif now - quiet_since >= PULSE_SECONDS:
                quiet_since = now
                end = await self._without_stream(start.job.id)
                if end is not None:
                    for event in end:
                        yield event
                    return
                yield Heartbeat()

    async def wait_for_end(self, client: str, job_id: str, seconds: float) -> None:
        """Returns when the job has ended, after `seconds` at the latest, or at once when too many
        requests already wait.
        """
        with suppress(TimeoutError, Overloaded, RateLimited), self._places.take(client):
            async with asyncio.timeout(seconds):
                await self._see_the_end(job_id)

    async def end_of(self, client: str, job_id: str) -> None:
        """Returns when the job has ended, or when this gateway is about to stop.

        Raises Overloaded, RateLimited.
        """
        with self._places.take(client):
            await self._see_the_end(job_id)

    async def _see_the_end(self, job_id: str) -> None:
        silent = 0
        while not self._stopping.is_set():
            if await self._read(f"ended:{job_id}", FIRST_ID):
                return
            # A job that ended long ago, or by a version without this stream, is seen here.
            if silent % LOOK_EVERY == 0 and await run_in_threadpool(self._is_over, job_id):
                return
            silent += 1

    def _is_over(self, job_id: str) -> bool:
        try:
            return self._store.is_over(job_id)
        except StoreUnavailable:
            return False

    async def _next(self, job_id: str, position: str) -> list[Event]:
        entries = await self._read(f"job:{job_id}:events", position)
        return [read_event(entry_id, fields) for entry_id, fields in entries]

    async def _read(self, stream: str, position: str) -> list[Any]:
        """Entries after `position`, as soon as there are any; none after BLOCK_MS."""
        try:
            answer: Any = await self._redis.xread({stream: position}, count=100, block=BLOCK_MS)
        except (RedisError, OSError) as error:
            _raise_if_cancelled()
            # An outage of the store does not end the job: the stream continues where it was.
            logger.warning("waiting for the store", reason=type(error).__name__)
            await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
            return []
        _raise_if_cancelled()
        return list(answer[0][1]) if answer else []

    async def _can_resume(self, job_id: str, event_id: str, newest: str) -> bool:
        """Whether this id is from this stream, and no event after it has been trimmed."""
        if not EVENT_ID.fullmatch(event_id) or order(event_id) > order(newest):
            return False
        try:
            oldest: Any = await self._redis.xrange(f"job:{job_id}:events", count=1)
        except (RedisError, OSError) as error:
            raise StoreUnavailable("the store does not answer") from error
        return bool(oldest) and order(just_before(oldest[0][0])) <= order(event_id)

    async def _without_stream(self, job_id: str) -> list[Event] | None:
        """What ends a job whose stream is gone: its last event, or nothing if the job is gone too.
        None while its stream is there, or is still to come.
        """
        try:
            if await run_in_threadpool(self._store.has_events, job_id):
                return None
            job, newest = await run_in_threadpool(self._store.snapshot, job_id)
        except JobNotFound:
            return []
        except StoreUnavailable:
            return None
        return [last_event(job, newest)] if job.state.is_terminal else None


def _raise_if_cancelled() -> None:
    """Raises a cancellation that the store's client has swallowed: its `asyncio.wait_for` does
    that, up to Python 3.11, if what it waits for has just ended.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@dataclass(frozen=True)
class Start:
    """Where one follower begins: an optional snapshot, and then the events after `position`."""

    job: Job
    snapshot: Snapshot | None
    position: str
    is_over: bool
    place: Place


def last_event(job: Job, event_id: str) -> Event:
    """The event with which a finished job's stream ended, made from its record."""
    if job.result is not None:
        return Event(id=event_id, kind=EventKind.RESULT, data=job.result.model_dump(mode="json"))
    if job.failure is not None:
        return Event(id=event_id, kind=EventKind.ERROR, data=job.failure.model_dump(mode="json"))
    data = {"state": str(job.state), "attempt": job.attempt}
    return Event(id=event_id, kind=EventKind.STATE, data=data)


def order(event_id: str) -> tuple[int, int]:
    """Converts an event id to a value that can be compared."""
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence)


def just_before(event_id: str) -> str:
    """The largest id that is smaller than this one."""
    milliseconds, sequence = order(event_id)
    if sequence > 0:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{LARGEST_SEQUENCE}" if milliseconds > 0 else FIRST_ID
