"""The vectors of a search's candidates, read as soon as it is known which those are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pyarrow as pa

from m3 import tracing
from m3.errors import Corrupt
from m3.types import batch_of
from store.contract import CandidateRows, ChunkKey, CollectionSpec
from store.reading.row_cache import Row, RowCache
from store.table.rows import CHUNK_COLUMNS, ROW_ID, embedding_columns, to_embeddings, to_keys
from store.table.table import Version

_CODES = "codes"
"""They take as long to read as all other columns together, so they are read beside these."""


class Vectors:
    """Rows of one version: from memory where they are kept, else from the table.

    For one thread, which goes on while others read.
    """

    def __init__(
        self,
        table: str,
        version: Version,
        spec: CollectionSpec,
        cache: RowCache,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._table = table
        self._version = version
        self._spec = spec
        self._cache = cache
        self._pool = pool
        self._asked: set[int] = set()
        self._kept = 0
        self._takes: list[tuple[Future[pa.Table], Future[pa.Table]]] = []
        self._read: list[CandidateRows] = []
        self._all: CandidateRows | None = None

    def ask(self, ids: Iterable[int]) -> None:
        """Begin to read those of these rows that were not asked for before."""
        wanted = sorted(set(ids) - self._asked)
        if not wanted:
            return
        self._asked.update(wanted)
        self._all = None
        kept = self._cache.get(self._table, self._version, wanted)
        self._kept += len(kept)
        there = {row.chunk.row for row in kept}
        if lacking := [id_ for id_ in wanted if id_ not in there]:
            others = [name for name in embedding_columns(self._spec) if name != _CODES]
            self._takes.append(
                (self._take(lacking, [*CHUNK_COLUMNS, *others]), self._take(lacking, [_CODES]))
            )
        if kept:
            self._read.append(_joined(kept, self._spec))

    def _take(self, ids: Sequence[int], columns: Sequence[str]) -> Future[pa.Table]:
        return self._pool.submit(copy_context().run, self._version.take, ids, columns)

    def read(self) -> CandidateRows:
        """All that was asked for, as far as it is alive in the version, each row once."""
        if self._all is None:
            self._all = self._waited()
        return self._all

    def _waited(self) -> CandidateRows:
        with tracing.span("table.rows", {"m3.rows": len(self._asked)}) as span:
            span.add({"m3.rows_kept": self._kept})
            while self._takes:
                others, codes = self._takes.pop()
                self._add(others.result(), codes.result())
        return CandidateRows(
            [chunk for part in self._read for chunk in part.chunks],
            [batch for part in self._read for batch in part.batches],
        )

    def _add(self, others: pa.Table, codes: pa.Table) -> None:
        """Columns of the same rows, which Lance gives in the same order."""
        if not len(others):
            return
        if others[ROW_ID] != codes[ROW_ID]:
            raise Corrupt("the table cannot be read: it gave the same rows in two orders")
        whole: Any = others
        batch = to_embeddings(whole.append_column(_CODES, codes[_CODES]), self._spec)
        part = CandidateRows(to_keys(others), [batch])
        self._read.append(part)
        if self._cache.enabled:
            self._pool.submit(self._keep, part)

    def _keep(self, part: CandidateRows) -> None:
        rows = [Row(*each) for each in zip(part.chunks, part.embeddings, strict=True)]
        self._cache.put(self._table, self._version, rows)


def selected(
    rows: CandidateRows, wanted: Callable[[ChunkKey], bool], spec: CollectionSpec
) -> CandidateRows:
    """Those rows that are wanted."""
    if all(map(wanted, rows.chunks)):
        return rows
    every = zip(rows.chunks, rows.embeddings, strict=True)
    return _joined([Row(*each) for each in every if wanted(each[0])], spec)


def _joined(rows: Sequence[Row], spec: CollectionSpec) -> CandidateRows:
    """In one batch."""
    if not rows:
        return CandidateRows([], [])
    batch = batch_of(
        [row.embedding for row in rows], model=spec.model, fingerprint=spec.fingerprint
    )
    return CandidateRows([row.chunk for row in rows], [batch])
