"""The formats there are, and which one a file's suffix stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

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


@dataclass(frozen=True, slots=True)
class Formats:
    """What files are read as.

    Attributes:
        forced: every file, whatever its name.
        by_suffix: else, in lower case with its dot.
    """

    forced: Format | None
    by_suffix: Mapping[str, Format]

    @classmethod
    def chosen(cls, name: str | None = None, parser: str | None = None) -> Formats:
        """By the name of one format, None for any; a parser takes over the suffixes it knows.

        Raises:
            InvalidInput: a name that nothing has, or a parser whose extra is not installed.
        """
        forced = _named("format", name, FORMATS) if name is not None else None
        known = {suffix: format_ for format_ in FORMATS.values() for suffix in format_.suffixes}
        if parser is None:
            return cls(forced, known)
        taking_over = _named("parser", parser, PARSERS)
        taking_over.check_installed()
        if forced and set(forced.suffixes) & set(taking_over.suffixes):
            forced = taking_over
        return cls(forced, known | dict.fromkeys(taking_over.suffixes, taking_over))

    def of(self, suffix: str) -> Format | None:
        """What a file of that suffix is read as, or None for one that nothing reads."""
        return self.forced or self.by_suffix.get(suffix)


_Known = TypeVar("_Known")


def _named(what: str, name: str, known: Mapping[str, _Known]) -> _Known:
    if name not in known:
        raise InvalidInput(f"{what} {name!r} is not known; there are: {', '.join(known)}")
    return known[name]
