"""A published collection: documents of its files, queries of one language, and who is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.judged.beir import TestCollection
from evaluation.recipes.cutting import Cutter
from evaluation.recipes.files import records
from ingest.sources import Parsed
from m3.types import Document

Parse = Callable[[Mapping[str, Any]], Document]
"""What a line of a corpus says."""


@dataclass(frozen=True, slots=True)
class Published(TestCollection):
    """A collection in its authors' own files.

    Attributes:
        files: the corpus, in the order it is read.
        fields: that each of its lines has.
        answers: of each query, in place of `qrels`: a passage that holds one is relevant.
        cutter: cuts documents and queries; None leaves them to the model's own limit.
    """

    __test__ = False

    files: tuple[Path, ...]
    fields: tuple[str, ...]
    parse: Parse
    answers: Mapping[str, Sequence[str]] | None = None
    cutter: Cutter | None = None

    @property
    def corpus(self) -> Path:
        return self.files[0]

    def cut(self, cutter: Cutter) -> Published:
        """With documents and queries no longer than the protocol has them."""
        queries = {id_: cutter.query(text) for id_, text in self.queries.items()}
        return replace(self, queries=queries, cutter=cutter)

    def documents(self) -> Iterator[Parsed]:
        """Documents without text are passed over.

        Raises:
            InvalidInput: a line that is not a document, with file and line.
        """
        for path in self.files:
            for place, record in records(path, *self.fields):
                document = self.parse(record)
                if document.text.strip():
                    kept = self.cutter.document(document) if self.cutter else document
                    yield Parsed(kept, place)
