"""A job's events, as server-sent events and over a WebSocket.

Owns the two formats. api/jobs/follow.py decides which events are sent, and in which order.
"""

import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query, Request, WebSocket
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from starlette.websockets import WebSocketDisconnect, WebSocketState

from api.access.guard import LanguageDep, ServicesDep, admit, anonymous, check_origin
from api.access.keys import ANONYMOUS, DEFAULT_SCOPES, Caller, Scope
from api.jobs.follow import Followed, Heartbeat, Snapshot, Start
from api.routes.jobs import READ_PROBLEMS
from api.services import Services
from api.wire.errors import language_of, refusal
from api.wire.presenter import event_data, job_view
from api.wire.problems import problems
from shared.errors import ImageNotFound, RetouchError, Unauthenticated
from shared.jobs import Event, EventKind
from shared.messages import Language

# One event, as OpenAPI 3.2 describes it for streams; FastAPI writes the same into 3.1.
SSE_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": [str(kind) for kind in EventKind]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
SSE = {
    "description": "`id` is the stream's own; `event` is one of `state progress preview result "
    "error`; `data` is JSON. First comes a snapshot (`state`, the whole job), last a `result`, an "
    "`error`, or a `state` with `canceled`. `Last-Event-ID` resumes after that event.",
    "content": {"text/event-stream": {"itemSchema": SSE_EVENT}},
}
GOING_AWAY = 1012
MOST_MESSAGES = 64

router = APIRouter(prefix="/v1/jobs", tags=["events"])


@router.get(
    "/{job_id}/events",
    operation_id="followJob",
    summary="Every event of a job, as server-sent events",
    response_class=Response,
    responses={
        200: SSE,
        204: {"description": "All events have been seen"},
        **problems(*READ_PROBLEMS, "overloaded"),
    },
)
async def get_events(
    job_id: str,
    request: Request,
    services: ServicesDep,
    language: LanguageDep,
    last_event_id: Annotated[str | None, Header()] = None,
    ticket: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    client = await _client_of(request, services, job_id, ticket)
    start = await services.followers.start(client.name, job_id, last_event_id, client.place)
    if start.is_over:
        start.place.leave()
        return Response(status_code=204)  # tells an EventSource not to come back
    return EventStream(services, start, language)


@router.websocket("/{job_id}/socket")
async def get_socket(
    websocket: WebSocket,
    job_id: str,
    services: ServicesDep,
    last_event_id: str | None = None,
    ticket: str | None = None,
) -> None:
    try:
        check_origin(websocket, services)
        client = await _client_of(websocket, services, job_id, ticket)
        start = await services.followers.start(client.name, job_id, last_event_id, client.place)
    except RetouchError as error:
        await websocket.send_denial_response(refusal(websocket, error))
        return
    with start.place:
        await websocket.accept()
        sending, listening = _send_all(websocket, services, start), _until_disconnected(websocket)
        await _until_either_ends(sending, listening)
    if websocket.client_state is WebSocketState.CONNECTED:
        code = GOING_AWAY if services.stopping.is_set() else 1000
        with suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(code)


class EventStream(StreamingResponse):
    """A follower's events. It gives its place back even if the client disconnects before the first
    event.
    """

    def __init__(self, services: Services, start: Start, language: Language) -> None:
        super().__init__(
            _frames(services, start, language),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._place = start.place

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


def frame(item: Followed, job_id: str, language: Language) -> tuple[str, EventKind, object] | None:
    """One item as id, kind and data; None for a heartbeat and for an event of a later version."""
    if isinstance(item, Heartbeat) or (isinstance(item, Event) and not item.kind.is_known):
        return None
    if isinstance(item, Snapshot):
        return (
            item.id,
            EventKind.STATE,
            job_view(item.job, language).shown(),
        )
    return item.id, item.kind, event_data(item, job_id, language)


async def _frames(services: Services, start: Start, language: Language) -> AsyncIterator[bytes]:
    async for item in services.followers.follow(start):
        framed = frame(item, start.job.id, language)
        if framed is None:
            yield KEEPALIVE_COMMENT
            continue
        event_id, kind, data = framed
        text = json.dumps(data, ensure_ascii=False)
        yield format_sse_event(data_str=text, event=str(kind), id=event_id)


async def _send_all(websocket: WebSocket, services: Services, start: Start) -> None:
    language = language_of(websocket)
    async for item in services.followers.follow(start):
        framed = frame(item, start.job.id, language)
        if framed is None:
            continue  # the server's own pings keep a socket alive
        event_id, kind, data = framed
        message = {"id": event_id, "kind": kind, "data": data}
        await websocket.send_text(json.dumps(message, ensure_ascii=False))
        if isinstance(item, Event) and kind is EventKind.PREVIEW:
            await _send_preview(websocket, services, item)


async def _send_preview(websocket: WebSocket, services: Services, event: Event) -> None:
    with suppress(ImageNotFound):  # replaced or expired in the meantime
        data = await run_in_threadpool(services.blobs.get, str(event.data["blob"]))
        await websocket.send_bytes(data)


async def _until_disconnected(websocket: WebSocket) -> None:
    # Nothing that a client sends matters here, so a client that sends much is disconnected.
    for _ in range(MOST_MESSAGES):
        if (await websocket.receive())["type"] == "websocket.disconnect":
            return


async def _until_either_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    async with anyio.create_task_group() as group:
        for coroutine in coroutines:
            group.start_soon(_then_cancel, coroutine, group.cancel_scope)


async def _then_cancel(coroutine: Coroutine[Any, Any, None], scope: anyio.CancelScope) -> None:
    with suppress(Exception):  # whatever ended one side, the socket is closed next
        await coroutine
    scope.cancel()


async def _client_of(
    connection: Request | WebSocket, services: Services, job_id: str, ticket: str | None
) -> Caller:
    """The client, identified by ticket or by key. Raises Unauthenticated, Forbidden."""
    if ticket is None:
        return await admit(connection, services, Scope.READ)
    client = await run_in_threadpool(services.tickets.holder, ticket, job_id)
    if client is None:
        raise Unauthenticated("the ticket has expired or is for another job")
    if client == ANONYMOUS:
        return anonymous(connection, DEFAULT_SCOPES)
    return Caller(client, DEFAULT_SCOPES)
