"""A collector of traces, which keeps the spans that it is sent; it also takes webhooks."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.http_servers import Quiet, serving


@dataclass(frozen=True)
class Seen:
    """A span as it arrived."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    attributes: dict[str, str]
    failed: bool


@dataclass
class Collector:
    """Its address, the spans so far, and the headers of webhooks to `/hook`."""

    url: str
    spans: list[Seen] = field(default_factory=list)
    hooks: list[dict[str, str]] = field(default_factory=list)

    def named(self, name: str) -> list[Seen]:
        return [span for span in list(self.spans) if span.name == name]


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on this machine."""

    class Handler(Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/hook":
                collector.hooks.append({name.lower(): text for name, text in self.headers.items()})
            else:
                collector.spans.extend(_read(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as url:
        collector = Collector(url)
        yield collector


def _read(body: bytes) -> Iterator[Seen]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service=about["service.name"],
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    attributes={one.key: one.value.string_value for one in span.attributes},
                    failed=span.status.code == 2,
                )
