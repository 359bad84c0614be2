"""What a run will take, told from what was read and cut alone."""

from __future__ import annotations

from ingest.running.report import Report
from ingest.sizing import vector_bytes
from store.contract import CollectionSpec

_TERM_BYTES = 8
_TERMS_PER_TOKEN = 0.6
_ROW_BYTES = 400
"""Keys, hashes, places and metadata of an average row, as Lance writes them."""


def table_bytes(report: Report, spec: CollectionSpec) -> int:
    """Bytes that the table grows by, index apart: vectors by dimension, tokens and codec, texts
    as chunks and as documents.
    """
    vectors = vector_bytes(report.chunks, report.tokens, spec.dimension, spec.codec, spec.pooling)
    terms = report.tokens * _TERMS_PER_TOKEN * _TERM_BYTES
    return round(vectors + terms + report.chunks * _ROW_BYTES + 2 * report.bytes)
