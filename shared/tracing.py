"""Traces across processes (OpenTelemetry): off unless RETOUCH_TRACES_URL names a collector.

Owns the set-up and how a trace is passed on. Without the extra `otel`, spans cost next to nothing,
and a caller's `traceparent` is still passed on to logs, workers and webhooks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.settings import BadSettings, Settings

Attributes = Mapping[str, str | int | float | bool]
TRACES_PATH = "/v1/traces"

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("retouch")


def configure_tracing(settings: Settings, service: str) -> None:
    """Sends this process's spans to the collector, if there is one. Raises BadSettings."""
    if not settings.traces_url:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise BadSettings(
            "RETOUCH_TRACES_URL: traces need the extra otel (pip install '.[otel]')"
        ) from error
    url = settings.traces_url.rstrip("/")
    endpoint = url if url.endswith(TRACES_PATH) else url + TRACES_PATH
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)


@contextmanager
def span(
    name: str,
    parent: str = "",
    attributes: Attributes | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """A part of the current trace, or of the one that `parent` (a traceparent) belongs to."""
    context = _context_of(parent) if parent else None
    with _tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=dict(attributes or {})
    ) as begun:
        yield begun


def note_parts(parts: Sequence[tuple[str, int, int]]) -> None:
    """Adds parts that are over to the current span: name, and begin and end in nanoseconds."""
    if not trace.get_current_span().is_recording():
        return
    for name, began, ended in parts:
        _tracer.start_span(name, start_time=began).end(ended)


def fail(span: Span, reason: str) -> None:
    """Marks a part as failed."""
    span.set_status(StatusCode.ERROR, reason)


def traceparent() -> str:
    """The current place in a trace, in the form of the W3C's header; empty outside of traces."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


def trace_id(parent: str = "") -> str:
    """The id of a trace by its traceparent, or of the current one; empty if there is none."""
    parts = (parent or traceparent()).split("-")
    return parts[1] if len(parts) >= 4 else ""


def _context_of(parent: str) -> Context:
    return _propagator.extract({"traceparent": parent}, context=Context())
