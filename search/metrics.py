"""What the search API counts beside requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from search.request import SearchRequest
from search.response import SearchResponse

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class SearchMetrics:
    """Searches by method, and the seconds of each phase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._searches = Counter(
            "m3_searches", "Searches answered.", ("method",), registry=registry
        )
        self._seconds = Histogram(
            "m3_search_seconds",
            "Seconds of a search's phases: embed, retrieve, rerank, and total.",
            ("phase",),
            buckets=_SECONDS,
            registry=registry,
        )

    def observe(self, request: SearchRequest, response: SearchResponse) -> None:
        self._searches.labels(request.method.value).inc()
        timings = response.timings_ms
        for phase in ("embed", "retrieve", "rerank", "total"):
            self._seconds.labels(phase).observe(getattr(timings, phase) / 1000)
