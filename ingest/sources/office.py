"""Formats whose parsers run in a process apart: PDF, and what docling and markitdown know."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ingest.sources.apart import Apart, Limits
from ingest.sources.base import Parsed, Reject, SourceFile, Stream
from ingest.sources.fields import Fields
from ingest.sources.markdown import stem
from m3.errors import InvalidInput

_OFFICE = (".docx", ".pptx", ".xlsx", ".html", ".htm", ".pdf")


class Office:
    """A format whose parser is a function of another process.

    Args:
        parser: `module:function`, an `apart_process.Read`; it gives `text`, and may give `title`,
            `metadata`, `pages` (where each begins) and `markdown` (whether text is that).
        package: what the parser imports, which an extra of the same name brings; None is at hand.
    """

    def __init__(
        self,
        name: str,
        suffixes: tuple[str, ...],
        parser: str,
        *,
        package: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self.suffixes = suffixes
        self._package = package
        self._apart = Apart(parser, limits)

    def check_installed(self) -> None:
        """Raises InvalidInput with the extra that is missing."""
        if self._package and find_spec(self._package) is None:
            raise InvalidInput(
                f"--parser {self.name} needs an extra: pip install 'm3-retrieval[{self.name}]'"
            )

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        self.check_installed()
        found, size = self._apart.read(stream, file.id)
        document = fields.document(
            file.id,
            found["text"],
            found.get("title") or stem(file.id),
            found.get("metadata") or {},
            markdown=found.get("markdown", False),
            pages=tuple(found.get("pages", ())),
        )
        yield Parsed(document, file.place(), size=size)


def pdf() -> Office:
    """PDF by pypdf."""
    return Office("pdf", (".pdf",), "ingest.sources.pdf:read_pdf")


def markitdown() -> Office:
    """Microsoft's markitdown: office formats and more as markdown."""
    return Office(
        "markitdown",
        (*_OFFICE, ".xls", ".epub", ".ipynb"),
        "ingest.sources.converters:read_by_markitdown",
        package="markitdown",
        limits=Limits(bytes=8 * 2**30),
    )


def docling() -> Office:
    """IBM's docling: layout and table models, OCR. Its models take what memory they take."""
    return Office(
        "docling",
        (*_OFFICE, ".adoc", ".png", ".jpg", ".jpeg", ".tiff"),
        "ingest.sources.converters:read_by_docling",
        package="docling",
        limits=Limits(seconds=3600.0, bytes=None),
    )
