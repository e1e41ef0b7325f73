"""Requests that wait until their jobs have ended: on the event loop, without a thread for each.

Owns what happens to the jobs of a caller who disconnects. They are canceled at once; for clients
that are known to retry, they are canceled only if no other request waits for them within
`patience`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import structlog
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.access.keys import Caller
from api.services import Services
from api.wire.sentence import Sentence
from shared.errors import JobNotFound, Overloaded, RetouchError, StoreUnavailable
from shared.jobs import Job

# The longest time that waiting clients use by default: ten minutes are usual.
LONGEST_SECONDS = 600.0
WAITING_SECONDS = 3600
NOT_YET = Sentence(
    "the job has not ended in ten minutes; POST /v1/jobs answers at once and lets it be followed",
    "任务在十分钟内没有完成；POST /v1/jobs 会立即返回，并可跟踪进度",
)

logger = structlog.get_logger(__name__)
_leaving: set[asyncio.Task[None]] = set()


class CallerLeft(Exception):
    """Raised when the waiting caller has closed the connection: an answer would reach nobody."""


class Stopping(Overloaded):
    """Raised when this gateway stops before the job ends; the caller can ask another gateway."""


@asynccontextmanager
async def caller_present(request: Request) -> AsyncIterator[None]:
    """Runs the body of the `with` block while the caller is connected; the request has been read
    before.

    Raises CallerLeft.
    """
    here, has_left = asyncio.current_task(), False
    assert here is not None

    def leave(done: asyncio.Task[None]) -> None:
        nonlocal has_left
        if not done.cancelled():
            has_left = True
            here.cancel()

    watcher = asyncio.create_task(_until_left(request))
    watcher.add_done_callback(leave)
    try:
        yield
    except asyncio.CancelledError:
        if has_left and here.uncancel() == 0:
            raise CallerLeft() from None
        raise
    finally:
        watcher.remove_done_callback(leave)
        watcher.cancel()


@asynccontextmanager
async def awaited(
    services: Services, job_ids: Sequence[str], patience: float = 0.0
) -> AsyncIterator[None]:
    """Marks these jobs as awaited inside the block; leaving it by an error or disconnect cancels
    them.
    """
    mark = uuid4().hex
    try:
        await mark_awaited(services, job_ids, mark)
        yield
    except (Stopping, StoreUnavailable):
        raise
    except asyncio.CancelledError:
        cancel_later(services, job_ids, mark, patience)
        raise
    except RetouchError:
        cancel_later(services, job_ids, mark, 0.0)
        raise


async def mark_awaited(services: Services, job_ids: Sequence[str], mark: str) -> None:
    """Makes the holder of this mark the one who waits for these jobs."""
    for job_id in job_ids:
        await run_in_threadpool(services.notes.write, f"awaited:{job_id}", mark, WAITING_SECONDS)


async def ended_jobs(services: Services, caller: Caller, job_ids: Sequence[str]) -> list[Job]:
    """Waits until all jobs have ended and returns them. Raises Overloaded, RateLimited,
    StoreUnavailable.
    """
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            return [await ended_job(services, caller, job_id) for job_id in job_ids]
    except TimeoutError as error:
        raise Overloaded(NOT_YET) from error


async def ended_job(services: Services, caller: Caller, job_id: str) -> Job:
    """Waits until the job has ended and returns it. Raises Overloaded, RateLimited,
    StoreUnavailable.
    """
    await services.followers.end_of(caller.place, job_id)
    job = await run_in_threadpool(services.store.get, job_id)
    if not job.state.is_terminal:
        raise Stopping(Sentence("this gateway is about to stop", "网关即将停止"))
    return job


def cancel_later(services: Services, job_ids: Sequence[str], mark: str, patience: float) -> None:
    """Cancels these after `patience`, except those that another request waits for by then."""
    task = asyncio.create_task(_cancel_unawaited(services, job_ids, mark, patience))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _cancel_unawaited(
    services: Services, job_ids: Sequence[str], mark: str, patience: float
) -> None:
    await asyncio.sleep(patience)
    for job_id in job_ids:
        await run_in_threadpool(_cancel_if_unawaited, services, job_id, mark)


def _cancel_if_unawaited(services: Services, job_id: str, mark: str) -> None:
    try:
        # Without any mark: the caller disconnected while the mark was being written.
        if services.notes.read(f"awaited:{job_id}") in (mark, None):
            services.store.cancel(job_id)
    except JobNotFound:
        pass
    except RetouchError as error:
        # No caller is left to be informed; the job ends by itself.
        logger.warning("an abandoned job was not canceled", job=job_id, reason=error.code)


async def _until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
