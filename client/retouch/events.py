"""A job's events as one sequence without gaps, whatever happens to the connections.

Owns resuming: after a lost connection the next one asks for the events after the last one seen, so
nothing is missing and nothing comes twice.
"""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import get_args

import httpx2

from retouch.answers import problem_from_response, require_event_stream
from retouch.connection import Connection, cause_of, is_passing
from retouch.patience import Deadline, Patience
from retouch.problems import RetouchProblem, UnexpectedAnswer, Unreachable
from retouch.records import Event

# A connection that lasted this long was good, even if the job sent no events.
LIVELY_SECONDS = 5.0
NO_CONTENT = 204
KINDS: tuple[str, ...] = get_args(Event.model_fields["kind"].annotation)


class StreamOver(Exception):
    """Raised when the service says that every event of a stream has been seen."""


async def follow(
    connection: Connection, job_id: str, deadline: Deadline
) -> AsyncGenerator[Event, None]:
    """Every event of the job, up to and including the last one.

    A connection that breaks, falls silent or ends early is replaced by one with `Last-Event-ID`.
    Raises RetouchProblem when the service refuses (for an unknown job, for example), and
    Unreachable when the deadline has passed or no good connection could be made for as long as the
    patience lasts.
    """
    last_id: str | None = None
    patience = connection.patience(deadline)
    while True:
        cause, retry_after = "the stream ended early", None
        try:
            async with aclosing(_one_connection(connection, job_id, last_id, patience)) as events:
                async for event in events:
                    last_id = event.id or last_id
                    yield event
                    if event.is_last:
                        return
        except StreamOver:
            return
        except httpx2.TransportError as error:
            cause = cause_of(error)
        except RetouchProblem as problem:
            if not is_passing(problem):
                raise
            cause, retry_after = problem.detail, problem.retry_after
        pause = patience.pause(retry_after)
        if pause is None:
            raise Unreachable(connection.url, cause)
        await connection.transport.sleep(pause)


async def _one_connection(
    connection: Connection, job_id: str, last_id: str | None, patience: Patience
) -> AsyncGenerator[Event, None]:
    path = f"/v1/jobs/{job_id}/events"
    async with connection.transport.stream(path, _headers(last_id), patience.deadline.left) as (
        response,
        events,
    ):
        _require_events(response)
        opened = time.monotonic()
        try:
            async for sent in events:
                if sent.event in KINDS and sent.data:
                    patience.renew()
                    yield _event(sent, response)
        finally:
            if time.monotonic() - opened > LIVELY_SECONDS:
                patience.renew()


def _headers(last_id: str | None) -> dict[str, str]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    return headers | ({"Last-Event-ID": last_id} if last_id else {})


def _require_events(response: httpx2.Response) -> None:
    if not response.is_success:
        raise problem_from_response(response)
    if response.status_code == NO_CONTENT:
        raise StreamOver
    require_event_stream(response)


def _event(sent: httpx2.ServerSentEvent, response: httpx2.Response) -> Event:
    try:
        return Event.model_validate(
            {"id": sent.id, "kind": sent.event, "data": json.loads(sent.data)}
        )
    except ValueError as error:
        address = str(response.request.url)
        what = "with an event that cannot be read"
        raise UnexpectedAnswer(address, response.status_code, what) from error
