"""Paths to documents: which files there are, and what stands in them."""

from ingest.sources.base import (
    MAX_DOCUMENT_BYTES,
    Fields,
    Parsed,
    Place,
    Reject,
    SourceFile,
)
from ingest.sources.files import FORMATS, Found, discover, read

__all__ = [
    "FORMATS",
    "MAX_DOCUMENT_BYTES",
    "Fields",
    "Found",
    "Parsed",
    "Place",
    "Reject",
    "SourceFile",
    "discover",
    "read",
]
