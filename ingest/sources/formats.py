"""The formats there are, and which one a file's suffix stands for."""

from __future__ import annotations

from collections.abc import Mapping

from ingest.sources.base import Format
from ingest.sources.delimited import Delimited
from ingest.sources.html import Html
from ingest.sources.jsonl import Jsonl
from ingest.sources.markdown import Markdown
from ingest.sources.office import docling, markitdown, pdf
from ingest.sources.parquet import Parquet
from ingest.sources.text import Text
from m3.errors import InvalidInput

FORMATS: Mapping[str, Format] = {
    format_.name: format_
    for format_ in (Jsonl(), Delimited(), Parquet(), Text(), Markdown(), Html(), pdf())
}
"""By name. A format is added here and nowhere else."""

PARSERS = {parser.name: parser for parser in (docling(), markitdown())}
"""By name: extras that take over the formats they know."""


def format_named(name: str) -> Format:
    """Raises InvalidInput for a name that no format has."""
    if name not in FORMATS:
        raise InvalidInput(f"format {name!r} is not known; there are: {', '.join(FORMATS)}")
    return FORMATS[name]


def parser_named(name: str) -> Format:
    """Raises InvalidInput for a name that no parser has, or whose extra is not installed."""
    if name not in PARSERS:
        raise InvalidInput(f"parser {name!r} is not known; there are: {', '.join(PARSERS)}")
    PARSERS[name].check_installed()
    return PARSERS[name]


def by_suffix(parser: Format | None = None) -> dict[str, Format]:
    """Formats by suffix, in lower case with its dot; a parser takes over those that it knows."""
    known = {suffix: format_ for format_ in FORMATS.values() for suffix in format_.suffixes}
    return known | (dict.fromkeys(parser.suffixes, parser) if parser else {})
