"""Paths to documents: which files there are, and what stands in them."""

from ingest.sources.base import (
    MAX_DOCUMENT_BYTES,
    Parsed,
    Place,
    Reject,
    SourceFile,
)
from ingest.sources.fields import Fields, MetaField
from ingest.sources.files import Found, discover, read
from ingest.sources.formats import FORMATS, PARSERS
from ingest.sources.values import MetaType
from ingest.sources.web import without_secrets

__all__ = [
    "FORMATS",
    "MAX_DOCUMENT_BYTES",
    "PARSERS",
    "Fields",
    "Found",
    "MetaField",
    "MetaType",
    "Parsed",
    "Place",
    "Reject",
    "SourceFile",
    "discover",
    "read",
    "without_secrets",
]
