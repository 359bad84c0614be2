"""The formats there are, and which one a file's suffix stands for."""

from __future__ import annotations

from collections.abc import Mapping

from ingest.sources.base import Format
from ingest.sources.jsonl import Jsonl
from ingest.sources.markdown import Markdown
from ingest.sources.text import Text
from m3.errors import InvalidInput

FORMATS: Mapping[str, Format] = {format_.name: format_ for format_ in (Jsonl(), Text(), Markdown())}
"""By name. A format is added here and nowhere else."""


def format_named(name: str) -> Format:
    """Raises InvalidInput for a name that no format has."""
    if name not in FORMATS:
        raise InvalidInput(f"format {name!r} is not known; there are: {', '.join(FORMATS)}")
    return FORMATS[name]


def by_suffix(parser: Format | None = None) -> dict[str, Format]:
    """Formats by suffix, in lower case with its dot; a parser takes those that it can read."""
    known = {suffix: format_ for format_ in FORMATS.values() for suffix in format_.suffixes}
    return known | (dict.fromkeys(parser.suffixes, parser) if parser else {})
