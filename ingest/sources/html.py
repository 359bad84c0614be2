"""HTML: one file is one document, as markdown, so that its chunks know their headings."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.sources.base import (
    MAX_DOCUMENT_BYTES,
    Parsed,
    Reject,
    SourceFile,
    Stream,
    too_long,
)
from ingest.sources.charsets import page_text
from ingest.sources.fields import Fields
from ingest.sources.markdown import stem
from ingest.sources.webpage import read_page
from m3.errors import InvalidInput


class Html:
    """The title is the page's, or its first heading, or the file's name."""

    name = "html"
    suffixes = (".html", ".htm", ".xhtml")

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        data = stream.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise InvalidInput(too_long("the file"))
        page = read_page(page_text(data))
        title = page.title or page.heading or stem(file.id)
        document = fields.document(file.id, page.text, title, page.metadata, markdown=True)
        yield Parsed(document, file.place(), size=len(data))
