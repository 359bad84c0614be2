"""What the search API counts beside requests."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from search.degrade import PARTS, Breakers
from search.request import SearchRequest
from search.response import SearchResponse
from store.candidates import Leg

_LEGS: tuple[Leg, ...] = ("dense", "sparse")
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class SearchMetrics:
    """Searches by method, the seconds of each phase, and what they went without."""

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
        self._degraded = Counter(
            "m3_search_degraded",
            "Searches answered without a part: dense, sparse or colbert.",
            ("part",),
            registry=registry,
        )
        self._given_up = Gauge(
            "m3_search_legs_given_up",
            "Collections of which this leg is not waited for, as it kept failing.",
            ("leg",),
            registry=registry,
        )
        # So that a rate has a first value.
        for part in PARTS:
            self._degraded.labels(part)

    def watch(self, breakers: Breakers) -> None:
        """Show what these have given up."""
        for leg in _LEGS:
            self._given_up.labels(leg).set_function(partial(breakers.open, leg))

    def observe(self, request: SearchRequest, response: SearchResponse) -> None:
        self._searches.labels(request.method.value).inc()
        for part in response.degraded:
            self._degraded.labels(part).inc()
        timings = response.timings_ms
        for phase in ("embed", "retrieve", "rerank", "total"):
            self._seconds.labels(phase).observe(getattr(timings, phase) / 1000)
