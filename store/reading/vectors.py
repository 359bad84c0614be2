"""The vectors of a search's candidates, read as soon as it is known which those are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pyarrow as pa

from m3 import tracing
from m3.errors import Corrupt
from m3.types import EmbeddingBatch, Passages, batch_of
from store.candidates import CandidateRows
from store.chunks import ChunkKey
from store.reading.kept import Row
from store.reading.row_cache import RowCache
from store.spec import CollectionSpec
from store.table.rows import (
    CHUNK_COLUMNS,
    FIRST_COLUMNS,
    ROW_ID,
    embedding_columns,
    to_embeddings,
    to_first,
    to_keys,
)
from store.table.version import Version

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
        cache: RowCache[Row],
        pool: ThreadPoolExecutor,
        *,
        codes: bool,
    ) -> None:
        """`codes`: whether rows are wanted whole; else they have no tokens."""
        self._table = table
        self._version = version
        self._spec = spec
        self._cache = cache
        self._pool = pool
        self._codes = codes
        self._asked: set[int] = set()
        self._kept: list[Row] = []
        self._takes: list[tuple[Future[pa.Table], Future[pa.Table] | None]] = []
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
        self._kept += kept
        there = {row.chunk.row for row in kept}
        if lacking := [id_ for id_ in wanted if id_ not in there]:
            self._begin(lacking)

    def _begin(self, ids: Sequence[int]) -> None:
        if not self._codes:
            self._takes.append((self._take(ids, [*CHUNK_COLUMNS, *FIRST_COLUMNS]), None))
            return
        others = [name for name in embedding_columns(self._spec) if name != _CODES]
        self._takes.append((self._take(ids, [*CHUNK_COLUMNS, *others]), self._take(ids, [_CODES])))

    def _take(self, ids: Sequence[int], columns: Sequence[str]) -> Future[pa.Table]:
        return self._pool.submit(copy_context().run, self._version.take, ids, columns)

    def read(self) -> CandidateRows:
        """All that was asked for, as far as it is alive in the version, each row once."""
        if self._all is None:
            self._all = self._waited()
        return self._all

    def _waited(self) -> CandidateRows:
        with tracing.span("table.rows", {"m3.rows": len(self._asked)}) as span:
            span.add({"m3.rows_kept": len(self._kept)})
            while self._takes:
                others, codes = self._takes.pop()
                self._add(others.result(), None if codes is None else codes.result())
        parts = [*self._from_memory(), *self._read]
        return CandidateRows(
            [chunk for part in parts for chunk in part.chunks],
            [batch for part in parts for batch in part.batches],
        )

    def _from_memory(self) -> Iterator[CandidateRows]:
        if self._kept:
            own = [row.embedding for row in self._kept]
            batch: Passages = own if self._codes else batch_of(own, colbert=False)
            yield CandidateRows([row.chunk for row in self._kept], [batch])

    def _add(self, others: pa.Table, codes: pa.Table | None) -> None:
        if not len(others):
            return
        if codes is None:
            self._read.append(CandidateRows(to_keys(others), [to_first(others, self._spec)]))
            return
        part = CandidateRows(to_keys(others), [self._whole(others, codes)])
        self._read.append(part)
        # Rows without codes are not kept: a kept row is taken for whole.
        if self._cache.enabled:
            self._pool.submit(self._keep, part)

    def _whole(self, others: pa.Table, codes: pa.Table) -> EmbeddingBatch:
        """Columns of the same rows, which Lance gives in the same order."""
        if others[ROW_ID] != codes[ROW_ID]:
            raise Corrupt("the table cannot be read: it gave the same rows in two orders")
        whole: Any = others
        return to_embeddings(whole.append_column(_CODES, codes[_CODES]), self._spec)

    def _keep(self, part: CandidateRows) -> None:
        rows = [Row(*each) for each in zip(part.chunks, part.embeddings, strict=True)]
        self._cache.put(self._table, self._version, rows)


def selected(rows: CandidateRows, wanted: Callable[[ChunkKey], bool]) -> CandidateRows:
    """Those rows that are wanted; none is copied."""
    if all(map(wanted, rows.chunks)):
        return rows
    every = zip(rows.chunks, rows.embeddings, strict=True)
    left = [(chunk, own) for chunk, own in every if wanted(chunk)]
    batches = [[own for _, own in left]] if left else []
    return CandidateRows([chunk for chunk, _ in left], batches)
