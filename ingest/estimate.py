"""What a run will take, told from what was read and cut alone."""

from __future__ import annotations

from ingest.report import Report
from m3.codec import width
from store.contract import CollectionSpec

_TOKEN_BYTES = 4
_TERM_BYTES = 8
_TERMS_PER_TOKEN = 0.6
_ROW_BYTES = 400
"""Keys, hashes, places and metadata of an average row, as Lance writes them."""


def table_bytes(report: Report, spec: CollectionSpec) -> int:
    """Bytes that the table grows by, index apart: vectors by dimension, tokens and codec, texts
    as chunks and as documents.
    """
    dense = spec.dimension * spec.codec.dense_dtype.itemsize
    token = width(spec.dimension, spec.codec) + _TOKEN_BYTES + _TERMS_PER_TOKEN * _TERM_BYTES
    rows = report.chunks * (dense + _ROW_BYTES)
    return round(rows + report.tokens * token + 2 * report.bytes)
