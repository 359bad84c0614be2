"""What is known of collections between runs, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from store.reports import Status, Verification


class CollectionMetrics:
    """Gauges by collection, of one look at them."""

    def __init__(self, dead_letters: Mapping[str, int]) -> None:
        self.registry = CollectorRegistry()
        self._documents = self._gauge("documents", "Documents that searches find.")
        self._chunks = self._gauge("chunks", "Chunks that searches find.")
        self._bytes = self._gauge("bytes", "Bytes of the table's files.")
        self._unpublished = self._gauge(
            "unpublished_commits", "Commits that the index does not have yet."
        )
        self._lag = self._gauge("lag_seconds", "Seconds since the oldest of these was made.")
        self._letters = self._gauge("dead_letters", "Documents that failed and wait for a retry.")
        self._missing = self._gauge("missing_rows", "Rows of the table that the index lacks.")
        self._stale = self._gauge("stale_rows", "Rows of the index that are not in the table.")
        self._corrupt = self._gauge("corrupt_rows", "Rows that do not match their checksum.")
        Gauge(
            "m3_checks_timestamp_seconds", "When this was looked at.", registry=self.registry
        ).set_to_current_time()
        for name, letters in dead_letters.items():
            self._letters.labels(name).set(letters)

    def hold(self, status: Status) -> None:
        """What a collection holds; no dead letters are a number too."""
        self._documents.labels(status.name).set(status.documents)
        self._chunks.labels(status.name).set(status.chunks)
        self._bytes.labels(status.name).set(status.bytes)
        self._unpublished.labels(status.name).set(status.unpublished)
        self._lag.labels(status.name).set(status.lag_seconds)
        self._letters.labels(status.name)

    def check(self, name: str, found: Verification) -> None:
        self._missing.labels(name).set(found.missing)
        self._stale.labels(name).set(found.stale)
        self._corrupt.labels(name).set(len(found.corrupt))

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"m3_collection_{name}", text, ("collection",), registry=self.registry)
