"""Reading from a snapshot: candidates from the index, rows from the published version.

The index may hold rows that the snapshot does not have yet or no longer, and its filter may
let through what it cannot say. Such rows fall away when the table is asked for them, and the
search goes deeper until each leg has its depth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress

import pyarrow as pa

from m3.errors import DeadlineExceeded
from m3.types import DocumentKey, Representation
from store.contract import (
    MAX_DEPTH,
    Candidates,
    CollectionSpec,
    Leg,
    Rows,
    StoredChunk,
    StoredDocument,
)
from store.filters import Filter, field_values, matches
from store.generations import Generations
from store.milvus_filters import to_milvus
from store.publication import READER_SECONDS
from store.registry import Generation
from store.rows import EMBEDDING_COLUMNS, TEXT_COLUMNS, to_chunks, to_embeddings
from store.table import Version

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What a search wants, apart from its legs."""

    query: Representation
    depth: int
    tenant: str
    filter: Filter | None
    spec: CollectionSpec | None = None

    def allows(self, chunk: StoredChunk, spec: CollectionSpec) -> bool:
        if chunk.tenant != self.tenant:
            return False
        if self.filter is None:
            return True
        return matches(self.filter, field_values(chunk.metadata, spec.fields))


@dataclass(frozen=True, slots=True)
class _Snapshot:
    generation: Generation
    version: Version


class Reader:
    """Reads one collection; safe from many threads."""

    def __init__(self, generations: Generations, pool: ThreadPoolExecutor) -> None:
        self._generations = generations
        self._pool = pool
        self._kept: _Snapshot | None = None

    def document(self, key: DocumentKey) -> StoredDocument | None:
        """One document of the published version."""
        columns = [*TEXT_COLUMNS, "content_hash"]
        rows = self._snapshot().version.of_documents([key.digest()], columns)
        if not len(rows):
            return None
        chunks = sorted(to_chunks(rows), key=lambda chunk: chunk.position)
        return StoredDocument(
            key=key,
            title=chunks[0].title,
            metadata=chunks[0].metadata,
            content_hash=rows["content_hash"][0].as_py(),
            chunks=chunks,
        )

    def candidates(self, legs: Sequence[Leg], question: Question) -> Candidates:
        """The best of each leg, all from one published version."""
        for _ in range(_ATTEMPTS):
            started = time.monotonic()
            snapshot = self._snapshot()
            self._generations.refuse_other(snapshot.generation, question.spec)
            found = self._find(snapshot, legs, question)
            in_time = time.monotonic() - started < READER_SECONDS
            if in_time or self._generations.current().published == snapshot.version.number:
                return found
        raise DeadlineExceeded(
            f"searches of {self._generations.name!r} take over {READER_SECONDS:g} s while it is "
            "written to: try again when the machine is less busy"
        )

    def _find(self, snapshot: _Snapshot, legs: Sequence[Leg], question: Question) -> Candidates:
        asked = dict.fromkeys(legs, question.depth)
        while True:
            found = self._search(snapshot.generation, asked, question)
            table, chunks = self._rows(snapshot, found, question)
            alive = {chunk.row for chunk in chunks}
            legs_kept: dict[Leg, list[int]] = {
                leg: [row for row in ids if row in alive][: question.depth]
                for leg, ids in found.items()
            }
            deeper: dict[Leg, int] = {
                leg: min(2 * asked[leg], MAX_DEPTH)
                for leg, ids in found.items()
                if len(legs_kept[leg]) < question.depth and asked[leg] <= len(ids) < MAX_DEPTH
            }
            if not deeper:
                kept = set[int]().union(*legs_kept.values())
                table, chunks = _only(table, chunks, [chunk.row in kept for chunk in chunks])
                embeddings = to_embeddings(table, snapshot.generation.spec) if chunks else None
                return Candidates(Rows(chunks, embeddings), legs_kept, snapshot.version.number)
            asked.update(deeper)

    def _search(
        self, generation: Generation, asked: Mapping[Leg, int], question: Question
    ) -> dict[Leg, list[int]]:
        """All legs at once."""
        index = self._generations.index(generation)
        expression = None if question.filter is None else to_milvus(question.filter)
        searches: dict[Leg, Future[list[int]]] = {
            leg: self._pool.submit(
                index.search,
                leg,
                question.query,
                depth=depth,
                tenant=question.tenant,
                expression=expression,
            )
            for leg, depth in asked.items()
        }
        return {leg: search.result() for leg, search in searches.items()}

    def _rows(
        self, snapshot: _Snapshot, found: Mapping[Leg, Sequence[int]], question: Question
    ) -> tuple[pa.Table, list[StoredChunk]]:
        """Those found rows that the snapshot has and the question allows."""
        union = sorted(set[int]().union(*found.values()))
        table = snapshot.version.take(union, [*TEXT_COLUMNS, *EMBEDDING_COLUMNS])
        chunks, spec = to_chunks(table), snapshot.generation.spec
        return _only(table, chunks, [question.allows(chunk, spec) for chunk in chunks])

    def _snapshot(self) -> _Snapshot:
        """What readers see now. Opening a version takes a millisecond, so the last is kept."""
        generation, kept = self._generations.current(), self._kept
        if (
            kept is None
            or kept.generation.table != generation.table
            or kept.generation.published != generation.published
        ):
            version = self._generations.table(generation).at(generation.published)
            kept = self._kept = _Snapshot(generation, version)
        return kept


def _only(
    table: pa.Table, chunks: list[StoredChunk], keep: Sequence[bool]
) -> tuple[pa.Table, list[StoredChunk]]:
    if all(keep):
        return table, chunks
    return table.filter(pa.array(keep, pa.bool_())), list(compress(chunks, keep))
