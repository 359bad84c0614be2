"""Traces by OpenTelemetry, where the settings ask for them: nothing of it is imported else."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from m3 import tracing
from m3.errors import InvalidConfiguration
from m3.settings import Settings

_LAST_SECONDS = 3.0
"""That a process's end waits for a collector to take its last spans."""
ENDING = "m3-last-spans"
"""The thread that sends them."""
_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


@contextmanager
def traced(settings: Settings, service: str) -> Generator[None]:
    """Send the spans of this process, for the length of a block, where `OTEL_…` variables say.

    Args:
        service: its name there, unless OTEL_SERVICE_NAME has another.

    Raises:
        InvalidConfiguration: traces are asked for, and their packages are not here.
    """
    if not settings.tracing:
        yield
        return
    if not all(map(_is_here, _PACKAGES)):
        raise InvalidConfiguration(
            "M3_TRACING needs OpenTelemetry: `pip install 'm3-retrieval[otel]'`, or unset it"
        )
    from serving.spans import OpenTelemetryTracer  # noqa: PLC0415 - a third of a second

    tracer = OpenTelemetryTracer.of(service)
    tracing.install(tracer)
    try:
        yield
    finally:
        tracing.install(None)
        # A collector that hangs must not hold up an end.
        ending = threading.Thread(target=tracer.shutdown, name=ENDING, daemon=True)
        ending.start()
        ending.join(_LAST_SECONDS)


def _is_here(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
