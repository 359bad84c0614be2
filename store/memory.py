"""The store in memory, exact and plain: the oracle that the real one is held against."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from m3.errors import AlreadyExists
from m3.types import Document, DocumentKey, Representation, batch_of, text_hash
from scoring.definition import dense_score, sparse_score
from store.checks import check_documents, check_name, check_spec, unknown_collection
from store.contract import (
    Candidates,
    Collection,
    CollectionSpec,
    DocumentRows,
    Leg,
    Rows,
    Status,
    StoredChunk,
    StoredDocument,
    Verification,
)
from store.filters import Filter, field_values, matches


@dataclass(frozen=True, slots=True)
class _Row:
    chunk: StoredChunk
    embedding: Representation


@dataclass(frozen=True, slots=True)
class _Kept:
    document: Document
    content_hash: str
    rows: Sequence[_Row]


class MemoryCollection:
    """One dictionary of documents; every search looks at every row."""

    def __init__(self, name: str, spec: CollectionSpec) -> None:
        self.name = name
        self.spec = spec
        self._lock = threading.RLock()
        self._documents: dict[DocumentKey, _Kept] = {}
        self._version = 1
        self._next_row = 0

    def replace(self, documents: Sequence[DocumentRows]) -> None:
        check_documents(documents, self.spec)
        with self._lock:
            for rows in documents:
                self._documents.pop(rows.document.key, None)
                if rows.chunks:
                    kept = _Kept(rows.document, rows.content_hash, self._rows(rows))
                    self._documents[rows.document.key] = kept
            self._version += 1

    def _rows(self, rows: DocumentRows) -> list[_Row]:
        document = rows.document
        first, self._next_row = self._next_row, self._next_row + len(rows.chunks)
        return [
            _Row(
                StoredChunk(
                    row=first + i,
                    tenant=document.tenant,
                    source=document.source,
                    document_id=document.id,
                    position=chunk.position,
                    chunks=len(rows.chunks),
                    start=chunk.start,
                    end=chunk.end,
                    heading=chunk.heading,
                    page=chunk.page,
                    title=document.title,
                    text=chunk.text,
                    metadata=document.metadata,
                ),
                embedding,
            )
            for i, (chunk, embedding) in enumerate(zip(rows.chunks, rows.embeddings, strict=True))
        ]

    def delete(self, keys: Sequence[DocumentKey]) -> int:
        with self._lock:
            found = [key for key in set(keys) if self._documents.pop(key, None) is not None]
            self._version += 1
            return len(found)

    def settle(self) -> None:
        """Nothing waits: readers and writers exclude each other."""

    def content_hashes(self, keys: Iterable[DocumentKey]) -> dict[DocumentKey, str]:
        with self._lock:
            return {
                key: self._documents[key].content_hash for key in keys if key in self._documents
            }

    def embeddings_by_text(self, key: DocumentKey) -> dict[str, Representation]:
        with self._lock:
            kept = self._documents.get(key)
            rows: Sequence[_Row] = kept.rows if kept else ()
            return {text_hash(row.chunk.model_text): row.embedding for row in rows}

    def document(self, key: DocumentKey) -> StoredDocument | None:
        with self._lock:
            kept = self._documents.get(key)
        if kept is None:
            return None
        document = kept.document
        return StoredDocument(
            key,
            document.title,
            document.metadata,
            kept.content_hash,
            [row.chunk for row in kept.rows],
        )

    def originals(self, keys: Sequence[DocumentKey]) -> list[Document]:
        with self._lock:
            return [self._documents[key].document for key in keys if key in self._documents]

    def candidates(
        self,
        query: Representation,
        *,
        legs: Sequence[Leg],
        depth: int,
        tenant: str,
        filter: Filter | None = None,
    ) -> Candidates:
        with self._lock:
            rows = [row for row in self._all() if self._allowed(row, tenant, filter)]
            version = self._version
        found: dict[Leg, list[int]] = {leg: _best(leg, query, rows, depth) for leg in legs}
        union = set[int]().union(*found.values())
        chosen = [row for row in rows if row.chunk.row in union]
        return Candidates(
            rows=Rows(
                [row.chunk for row in chosen],
                batch_of([row.embedding for row in chosen]) if chosen else None,
            ),
            legs=found,
            version=version,
        )

    def _all(self) -> Iterator[_Row]:
        return (row for kept in self._documents.values() for row in kept.rows)

    def _allowed(self, row: _Row, tenant: str, filter_: Filter | None) -> bool:
        if row.chunk.tenant != tenant:
            return False
        if filter_ is None:
            return True
        return matches(filter_, field_values(row.chunk.metadata, self.spec.fields))

    def status(self) -> Status:
        with self._lock:
            rows = list(self._all())
            return Status(
                name=self.name,
                generation=1,
                version=self._version,
                documents=len(self._documents),
                chunks=len(rows),
                bytes=sum(row.embedding.codes.nbytes + row.embedding.dense.nbytes for row in rows),
                unpublished=0,
                spec=self.spec,
            )

    def verify(self, *, repair: bool = False) -> Verification:
        return Verification(
            chunks=self.status().chunks, missing=0, stale=0, corrupt=(), repaired=repair
        )

    def close(self) -> None:
        """Nothing is held."""


def _best(leg: Leg, query: Representation, rows: Sequence[_Row], depth: int) -> list[int]:
    scored = [(_leg_score(leg, query, row.embedding), row.chunk.row) for row in rows]
    if leg == "sparse":
        scored = [pair for pair in scored if pair[0] > 0]
    return [row for _, row in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:depth]]


def _leg_score(leg: Leg, query: Representation, passage: Representation) -> float:
    if leg == "dense":
        return dense_score(query.dense, passage.dense)
    return sparse_score(
        query.sparse_ids, query.sparse_weights, passage.sparse_ids, passage.sparse_weights
    )


class MemoryStore:
    """Collections that end with the process."""

    def __init__(self) -> None:
        self._collections: dict[str, MemoryCollection] = {}

    def create(self, name: str, spec: CollectionSpec) -> Collection:
        check_name(name)
        check_spec(spec)
        if name in self._collections:
            raise AlreadyExists(f"collection {name!r} exists already")
        self._collections[name] = MemoryCollection(name, spec)
        return self._collections[name]

    def open(self, name: str) -> Collection:
        if name not in self._collections:
            raise unknown_collection(name, self.names())
        return self._collections[name]

    def names(self) -> list[str]:
        return sorted(self._collections)

    def drop(self, name: str) -> None:
        self.open(name)
        del self._collections[name]

    def close(self) -> None:
        """Nothing is held."""
