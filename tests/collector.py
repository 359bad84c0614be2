"""A collector of OpenTelemetry's: takes spans over OTLP/HTTP, as Jaeger and Tempo do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True, eq=False)
class Spanned:
    """A span as it came in."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, object]
    began: int
    ended: int
    failed: bool


@dataclass
class Collector:
    """What came in so far."""

    url: str = ""
    spans: list[Spanned] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """What a server needs to send its spans here, soon."""
        return {
            "M3_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def until(self, enough: Callable[[list[Spanned]], bool], seconds: float = 60) -> list[Spanned]:
        """What is here once it is enough."""
        deadline = time.monotonic() + seconds
        while not enough(self.spans):
            assert time.monotonic() < deadline, [(one.service, one.name) for one in self.spans]
            time.sleep(0.05)
        return list(self.spans)

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        for of in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {each.key: each.value.string_value for each in of.resource.attributes}
            self.spans += [
                Spanned(
                    told["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    {each.key: _plain(each.value) for each in span.attributes},
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code == 2,
                )
                for scope in of.scope_spans
                for span in scope.spans
            ]


def _plain(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.collector.take(self.rfile.read(int(self.headers["Content-Length"])))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    collector: Collector


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector at a free port, for the length of a block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.collector = Collector(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.collector
    finally:
        server.shutdown()
        server.server_close()
