"""What applies to every answer: security headers, one log line, one count, a request id, no
traceback.

Owns the headers' values. Plain ASGI, so that streams pass through unchanged. The log line has the
path but never the query, which may hold a ticket.
"""

import re
import time
from uuid import uuid4

import structlog
from opentelemetry.trace import Span, SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from api.metrics.metrics import Metrics
from api.server.page_files import ISOLATED
from api.wire.errors import unforeseen
from shared.tracing import fail, span, trace_id

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
PICTURE_POLICY = "default-src 'none'; sandbox"
OTHER_POLICY = "default-src 'none'; frame-ancestors 'none'"
REQUEST_ID = re.compile(r"[\w.:+/=-]{1,128}", re.ASCII)
# W3C Trace Context: version, trace, parent, flags.
TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

logger = structlog.get_logger("api.access")


class Finish:
    """Wraps the whole application, so that it sees every answer, including those to unexpected
    errors.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with span(scope["method"], _trace_parent(headers), kind=SpanKind.SERVER) as begun:
            await self._traced(scope, receive, send, begun)

    async def _traced(self, scope: Scope, receive: Receive, send: Send, begun: Span) -> None:
        request_id = _request_id(Headers(scope=scope))
        bind_contextvars(request=request_id, **_known_of(scope))
        # Every file here is small, but ten thousand ranges of it are not: ranges are not served.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"range"]
        started: float = time.perf_counter()
        status: int | None = None

        async def finished_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                secure(headers)
                headers["X-Request-ID"] = request_id
                self._note(scope, status, time.perf_counter() - started)
                _describe(begun, scope, status, request_id)
            await send(message)

        try:
            await self._app(scope, receive, finished_send)
        except Exception as error:
            # Starlette's own handler for this lies outside all middleware, and so would lack the
            # headers.
            if status is not None:
                raise
            answer = unforeseen(Request(scope), error)
            await answer(scope, receive, finished_send)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.count(scope["method"], route, status, seconds)
        logger.log(
            10 if scope["path"] in QUIET_PATHS else 20,
            "request",
            method=scope["method"],
            path=scope["path"][:200],
            status=status,
            ms=round(seconds * 1000, 1),
            caller=scope.get("state", {}).get("caller"),
        )


def _request_id(headers: Headers) -> str:
    """The sender's id if it is valid, so that both logs can be compared."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex


def _known_of(scope: Scope) -> dict[str, str]:
    """The fields of every log line about this request."""
    client = scope.get("client")
    known = {"client": client[0]} if client else {}
    trace = trace_id()
    return known | ({"trace": trace} if trace else {})


def _trace_parent(headers: Headers) -> str:
    given = headers.get("traceparent", "")
    return given if TRACE_PARENT.fullmatch(given) else ""


def _describe(begun: Span, scope: Scope, status: int, request_id: str) -> None:
    """By the names that OpenTelemetry gives to parts of HTTP."""
    route = getattr(scope.get("route"), "path", "unmatched")
    begun.update_name(f"{scope['method']} {route}")
    begun.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "client.address": scope["client"][0] if scope.get("client") else "",
            "retouch.request": request_id,
        }
    )
    if status >= 500:
        fail(begun, str(status))


def secure(headers: MutableHeaders) -> None:
    """Adds the headers of every answer; the policy depends on the kind of answer."""
    kind = headers.get("content-type", "")
    if kind.startswith("text/html"):
        policy = PAGE_POLICY
        headers.update(ISOLATED | {"Cross-Origin-Opener-Policy": "same-origin"})
    else:
        policy = PICTURE_POLICY if kind.startswith("image/") else OTHER_POLICY
    headers.setdefault("Content-Security-Policy", policy)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
