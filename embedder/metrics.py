"""What a node counts beside its requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from embedder.batching.pace import LANES

_TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_PHASES = ("tokenize", "queue", "compute", "finish", "write")
_REASONS = ("queue_tokens", "queue_seconds", "deadline", "too_large")


class NodeMetrics:
    """What waits, what was computed and how, who computes, and what was refused or failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.queue_tokens = self._gauge("queue_tokens", "Tokens waiting.", "lane")
        self.queue_seconds = self._gauge(
            "queue_seconds", "Seconds the workers will take for what waits, as measured of late."
        )
        self.batch_tokens = self._histogram("batch_tokens", "Tokens of a batch.", _TOKENS, "lane")
        self.batch_texts = self._histogram("batch_texts", "Texts of a batch.", _TEXTS, "lane")
        self.batch_fill = self._histogram(
            "batch_fill",
            "Tokens of a batch as a share of its budget; above 1 for a longer text alone.",
            _SHARES,
            "lane",
        )
        self.batches_interrupted = self._counter(
            "batches_interrupted", "Passage batches that queries were computed in between."
        )
        self.tokens = self._counter("tokens", "Tokens computed.", "lane")
        self.padding = self._counter(
            "padding_tokens", "Tokens computed for the shape of a batch alone."
        )
        self.rate = self._gauge(
            "tokens_per_second", "Tokens a second that one worker computed of late.", "lane"
        )
        self.shared = self._counter(
            "texts_shared", "Texts that were computed for somebody else already.", "lane"
        )
        self.seconds = self._histogram(
            "phase_seconds",
            "Seconds of each phase: tokenize a request; queue, until its first text is computed; "
            "compute a batch; finish it in the worker (on a GPU from its launch on); write a "
            "request's own columns.",
            _SECONDS,
            "phase",
        )
        self.refused = self._counter(
            "requests_refused",
            "Requests refused: queue_tokens, queue_seconds (too much waits), deadline (shorter "
            "than the wait), too_large.",
            "reason",
        )
        self.errors = self._counter("errors", "Requests that got no embeddings.", "code")
        self.workers = self._gauge("workers_up", "Worker processes that are ready.")
        self.restarts = self._counter("worker_restarts", "Worker processes that were replaced.")
        self.retired = self._counter(
            "workers_retired", "Of those replaced, the ones that were worn out by our settings."
        )
        self.memory_used = self._gauge(
            "device_memory_used_bytes",
            "Memory in use on a worker's device; on the CPU the worker's resident memory.",
            "device",
        )
        self.memory_total = self._gauge(
            "device_memory_total_bytes", "Memory of a worker's device.", "device"
        )
        self._show_zeros()

    def _show_zeros(self) -> None:
        """Make the series whose names are known, so that a rate has a first value."""
        for lane in LANES:
            self.queue_tokens.labels(lane)
            self.tokens.labels(lane)
            self.rate.labels(lane)
            self.shared.labels(lane)
        for phase in _PHASES:
            self.seconds.labels(phase)
        for reason in _REASONS:
            self.refused.labels(reason)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"m3_{name}", text, labels, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"m3_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"m3_{name}", text, labels, buckets=buckets, registry=self._registry)
