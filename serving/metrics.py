"""What every HTTP face counts."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_SERIES = 1024
"""That are at hand without being looked up, which would take as long as the rest of a count."""
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class HttpMetrics:
    """Requests by route and status, and how long they took, in a registry of the app's own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = Counter(
            "m3_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "m3_http_request_seconds",
            "Seconds from a request's first byte to its answer's last.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )

        self._requests_of = lru_cache(_SERIES)(self._requests.labels)
        self._seconds_of = lru_cache(_SERIES)(self._seconds.labels)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests_of(method, route, str(status)).inc()
        self._seconds_of(route).observe(seconds)
