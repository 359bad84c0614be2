"""What a run will take, told from what was read and cut alone."""

from __future__ import annotations

from ingest.running.report import Report
from ingest.sizing import row_parts
from store.spec import CollectionSpec


def table_bytes(report: Report, spec: CollectionSpec) -> int:
    """Bytes that the table grows by, index apart."""
    parts = row_parts(
        report.chunks,
        report.tokens,
        report.bytes,
        dimension=spec.dimension,
        codec=spec.codec,
        pooling=spec.pooling,
    )
    return sum(parts.values())
