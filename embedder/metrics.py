"""What a node counts beside its requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class NodeMetrics:
    """Tokens that wait, that were computed and how, and the seconds of each phase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue_tokens = Gauge(
            "m3_queue_tokens", "Tokens waiting.", ("lane",), registry=registry
        )
        self.batch_tokens = Histogram(
            "m3_batch_tokens", "Tokens of a batch.", buckets=_TOKENS, registry=registry
        )
        self.tokens = Counter("m3_tokens", "Tokens computed.", ("lane",), registry=registry)
        self.seconds = Histogram(
            "m3_phase_seconds",
            "Seconds of each phase: tokenize, queue, compute, write.",
            ("phase",),
            buckets=_SECONDS,
            registry=registry,
        )
        for lane in ("query", "passage"):
            self.queue_tokens.labels(lane)
            self.tokens.labels(lane)
