"""Plain text: one file is one document."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.sources.base import Parsed, Reject, SourceFile, Stream, whole_file
from ingest.sources.fields import Fields


class Text:
    """A file's text as it stands, without a title."""

    name = "text"
    suffixes = (".txt", ".text")

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        text, size = whole_file(stream)
        yield Parsed(fields.document(file.id, text, "", {}), file.place(), size=size)
