"""Rows of one version: from memory where they are kept, else from the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m3 import tracing
from m3.types import batch_of
from store.contract import CollectionSpec, Rows, StoredChunk
from store.reading.row_cache import Row, RowCache
from store.table.rows import TEXT_COLUMNS, embedding_columns, to_chunks, to_embeddings
from store.table.table import Version


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads a version of a table."""

    table: str
    version: Version
    spec: CollectionSpec
    cache: RowCache

    def chunks(self, ids: Sequence[int]) -> list[StoredChunk]:
        """As `read`, without vectors."""
        known, lacking = self._known(ids)
        table = self.version.take(lacking, TEXT_COLUMNS)
        return [*(row.chunk for row in known), *to_chunks(table)]

    def read(self, ids: Sequence[int]) -> Rows:
        """Those of these rows that are alive in the version, each once, in no order."""
        with tracing.span("table.rows", {"m3.rows": len(ids)}) as span:
            return self._read(ids, span)

    def _read(self, ids: Sequence[int], span: tracing.Span) -> Rows:
        if not self.cache.enabled:
            return self._stored(ids)
        known, lacking = self._known(ids)
        span.add({"m3.rows_kept": len(known)})
        stored = self._stored(lacking) if lacking else Rows([], None)
        fresh = _each(stored)
        if fresh:
            self.cache.put(self.table, self.version, fresh)
        return joined([*known, *fresh], self.spec) if known else stored

    def _known(self, ids: Sequence[int]) -> tuple[list[Row], list[int]]:
        """Rows that are kept, and the ids of the others."""
        known = self.cache.get(self.table, self.version, ids)
        there = {row.chunk.row for row in known}
        return known, [id_ for id_ in ids if id_ not in there]

    def _stored(self, ids: Sequence[int]) -> Rows:
        table = self.version.take(ids, [*TEXT_COLUMNS, *embedding_columns(self.spec)])
        return Rows(to_chunks(table), to_embeddings(table, self.spec) if len(table) else None)


def _each(rows: Rows) -> list[Row]:
    embeddings = rows.embeddings or ()
    return [Row(chunk, own) for chunk, own in zip(rows.chunks, embeddings, strict=True)]


def joined(rows: Sequence[Row], spec: CollectionSpec) -> Rows:
    """As columns."""
    if not rows:
        return Rows([], None)
    embeddings = batch_of(
        [row.embedding for row in rows], model=spec.model, fingerprint=spec.fingerprint
    )
    return Rows([row.chunk for row in rows], embeddings)


def only(rows: Rows, keep: Sequence[bool], spec: CollectionSpec) -> Rows:
    """Those rows that are to be kept."""
    if all(keep):
        return rows
    return joined([row for row, kept in zip(_each(rows), keep, strict=True) if kept], spec)
