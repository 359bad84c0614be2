"""What is asked of the rows of one version, each time of no more columns than that takes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson

from store.chunks import StoredChunk
from store.reading.kept import Hot, Text
from store.reading.question import Question
from store.reading.vectors import Vectors
from store.spec import CollectionSpec
from store.table.rows import ROW_ID, TEXT_COLUMNS, to_chunks, values
from store.table.version import Version

_ALLOWING = ("tenant", "title", "text", "metadata")
"""What a question may be particular about."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads a version of a table.

    Attributes:
        pool: whose threads read vectors meanwhile.
    """

    table: str
    version: Version
    spec: CollectionSpec
    hot: Hot
    pool: ThreadPoolExecutor

    def vectors(self, *, codes: bool = True) -> Vectors:
        """Of those rows that it is asked for; without `codes` they have no tokens."""
        return Vectors(
            self.table, self.version, self.spec, self.hot.vectors, self.pool, codes=codes
        )

    def chunks(self, ids: Sequence[int]) -> list[StoredChunk]:
        """Those of these rows that are alive in the version, each once, in no order."""
        texts = self.hot.texts
        kept = [text.chunk for text in texts.get(self.table, self.version, ids)]
        there = {chunk.row for chunk in kept}
        lacking = [id_ for id_ in ids if id_ not in there]
        read = to_chunks(self.version.take(lacking, TEXT_COLUMNS)) if lacking else []
        if read and texts.enabled:
            self.pool.submit(texts.put, self.table, self.version, [Text(chunk) for chunk in read])
        return kept + read

    def allowed(self, ids: Sequence[int], question: Question) -> set[int]:
        """Those of these rows that are alive in the version and that the question allows."""
        table = self.version.take(ids, _ALLOWING)
        columns = (values(table, name) for name in (ROW_ID, *_ALLOWING))
        return {
            row
            for row, tenant, title, text, metadata in zip(*columns, strict=True)
            if tenant == question.tenant
            and question.admits(title, text, orjson.loads(metadata), self.spec)
        }
