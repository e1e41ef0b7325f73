"""`stream=true`: a job's preview and percentage as partial images, then the finished picture.

Owns the format of events and when a partial image is sent. Each partial image has the true
percentage as `percent`. Comments between events have it too, and keep the connection alive.
"""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.access.keys import Caller
from api.faces.fitting import as_format, size_of
from api.faces.openai.answers import USAGE, looks, picture_of
from api.faces.openai.errors import error_response, failure_body
from api.faces.openai.orders import Order
from api.jobs.follow import Followed, Heartbeat, Snapshot
from api.jobs.waiting import cancel_later, mark_awaited
from api.services import Services
from shared.errors import ImageNotFound, RetouchError
from shared.jobs import EventKind, Job

PARTIAL, COMPLETED = "image_edit.partial_image", "image_edit.completed"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """The stream of an order's jobs; they are canceled if its reader disconnects before the end."""

    def __init__(self, request: Request, services: Services, caller: Caller, order: Order) -> None:
        super().__init__(self._frames(), media_type="text/event-stream", headers=HEADERS)
        self._request = request
        self._services = services
        self._caller = caller
        self._order = order
        self._is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mark = uuid4().hex
        try:
            await mark_awaited(self._services, self._order.job_ids, mark)
            await super().__call__(scope, receive, send)
        finally:
            if not self._is_over:
                patience = self._order.tries.patience
                cancel_later(self._services, self._order.job_ids, mark, patience)

    async def _frames(self) -> AsyncIterator[bytes]:
        try:
            for job_id in self._order.job_ids:
                async for frame in self._frames_of(job_id):
                    yield frame
        except RetouchError as error:
            body = json.loads(bytes(error_response(self._request, error).body))
            yield _event("error", body)
        self._is_over = True

    async def _frames_of(self, job_id: str) -> AsyncIterator[bytes]:
        partial = Partials(self._services, self._order)
        start = await self._services.followers.start(
            self._caller.name, job_id, None, self._caller.place
        )
        async for item in self._services.followers.follow(start):
            for frame in await partial.frames(item):
                yield frame
        job = await run_in_threadpool(self._services.store.get, job_id)
        if job.failure is not None:
            yield _event("error", failure_body(self._request, job.failure))
        else:
            yield await run_in_threadpool(_completed, self._services, self._order, job)


class Partials:
    """Which partial images one job sends: the requested number, spread over its percentage."""

    def __init__(self, services: Services, order: Order) -> None:
        self._services = services
        self._order = order
        self._wanted = order.read.form.partial_images
        self._sent = 0
        self._percent = 0.0
        self._picture: bytes | None = None

    async def frames(self, item: Followed) -> list[bytes]:
        """The frames to send upon this event."""
        if isinstance(item, Heartbeat):
            return [b": waiting\n\n"]
        if isinstance(item, Snapshot):
            await self._take(item.job.preview.blob if item.job.preview else None)
        elif item.kind is EventKind.PREVIEW:
            await self._take(str(item.data["blob"]))
        elif item.kind is EventKind.PROGRESS:
            self._percent = float(item.data.get("percent", 0.0))
        return [*self._due(), f": {self._percent:.1f} %\n\n".encode()]

    async def _take(self, blob: str | None) -> None:
        if blob is None or not self._wanted:
            return
        try:
            kind = self._order.read.form.output_format
            data = await run_in_threadpool(self._services.blobs.get, blob)
            self._picture = await run_in_threadpool(as_format, data, kind)
        except ImageNotFound:  # replaced in the meantime: the next one will come
            return

    def _due(self) -> list[bytes]:
        due = self._sent * 100 / max(1, self._wanted)
        if self._picture is None or self._sent >= self._wanted or self._percent < due:
            return []
        body = {
            "type": PARTIAL,
            "b64_json": base64.b64encode(self._picture).decode(),
            "created_at": int(time.time()),
            "partial_image_index": self._sent,
            "percent": self._percent,
            **looks(self._order, size_of(self._picture)),
        }
        self._sent += 1
        return [_event(PARTIAL, body)]


def _completed(services: Services, order: Order, job: Job) -> bytes:
    picture = picture_of(services, job, order.read.form.wanted)
    body = {
        "type": COMPLETED,
        "b64_json": base64.b64encode(picture).decode(),
        "created_at": int(time.time()),
        "usage": USAGE,
        "percent": 100.0,
        **looks(order, size_of(picture)),
    }
    return _event(COMPLETED, body)


def _event(name: str, body: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()
