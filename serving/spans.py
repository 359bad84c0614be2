"""Our spans as OpenTelemetry's; the only importer of it.

The provider is this tracer's own, not the process's: FastAPI and the SDK of MCP write spans of
theirs, with addresses and messages in them, to the one that a process shares.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Self, cast

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from m3.tracing import Attributes, Parent, Span
from m3.tracing import SpanKind as Kind

_KINDS: Mapping[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
}
_W3C = TraceContextTextMapPropagator()
_LOOKS = 3


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def add(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, reason: str) -> None:
        self._span.set_attribute("error.type", reason)
        self._span.set_status(StatusCode.ERROR)


class OpenTelemetryTracer:
    """A `m3.tracing.Tracer` that sends what is sampled."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("m3-retrieval", version("m3-retrieval"))

    @classmethod
    def of(cls, service: str) -> Self:
        """Over OTLP/HTTP; sampler, address, headers and limits are read from `OTEL_…`."""
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        session = requests.Session()
        # The environment's proxies are for the world outside.
        session.trust_env = False
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=session)))
        return cls(provider)

    def shutdown(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Attributes, caller: Mapping[str, str] | None
    ) -> Generator[Span]:
        """See `Tracer`. Errors are told by their code alone: a message may have a text in it."""
        with self._tracer.start_as_current_span(
            name,
            context=None if caller is None else _W3C.extract(caller, Context()),
            kind=_KINDS[kind],
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as found:
            ours = _Span(found)
            try:
                yield ours
            except BaseException as error:
                ours.fail(str(getattr(error, "code", None) or type(error).__name__))
                raise

    def past(
        self, name: str, began: float, ended: float, attributes: Attributes, under: Parent
    ) -> Parent:
        """See `Tracer`."""
        # Spans have the wall's time.
        offset = _ahead()
        parent = cast("Context", under)
        made = self._tracer.start_span(
            name, context=parent, attributes=attributes, start_time=_nanoseconds(began + offset)
        )
        made.end(_nanoseconds(ended + offset))
        return Parent(trace.set_span_in_context(made, parent))

    def parent(self) -> Parent | None:
        """See `Tracer`."""
        found = trace.get_current_span()
        return Parent(trace.set_span_in_context(found, Context())) if found.is_recording() else None

    def headers(self) -> Mapping[str, str]:
        """See `Tracer`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier

    def trace_id(self) -> str | None:
        """See `Tracer`."""
        found = trace.get_current_span().get_span_context()
        return trace.format_trace_id(found.trace_id) if found.is_valid else None


def _ahead() -> float:
    """Seconds that the wall's time is ahead of the monotonic clock's.

    By the quickest of several looks: a pause between two clocks would move a span by its length.
    """
    looks: list[tuple[float, float]] = []
    for _ in range(_LOOKS):
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        looks.append((after - before, wall - before))
    return min(looks)[1]


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
