"""The store in memory, exact and plain: the oracle that the real one is held against."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from m3.errors import AlreadyExists, GenerationChanged, InvalidInput, NotFound, SnapshotGone
from m3.types import Document, DocumentKey, Representation, batch_of, text_hash
from scoring.definition import dense_score, sparse_score
from store.candidates import CandidateRows, Candidates, Leg, Snapshot
from store.checks import (
    check_defaults,
    check_documents,
    check_name,
    check_spec,
    check_tenants,
    unknown_collection,
)
from store.chunks import ChunkKey, DocumentRows, Rows, StoredChunk, StoredDocument
from store.contract import Collection
from store.filters import Filter, field_values, matches
from store.reports import Compaction, Counts, Defaults, Generations, Status, Verification
from store.spec import CollectionSpec
from store.words import Words


@dataclass(frozen=True, slots=True)
class _Row:
    chunk: StoredChunk
    embedding: Representation


@dataclass(frozen=True, slots=True)
class _Kept:
    document: Document
    content_hash: str
    rows: Sequence[_Row]


@dataclass(slots=True)
class _Generation:
    spec: CollectionSpec
    documents: dict[DocumentKey, _Kept] = field(default_factory=dict[DocumentKey, _Kept])
    version: int = 1
    past: dict[int, dict[DocumentKey, _Kept]] = field(
        default_factory=dict[int, dict[DocumentKey, _Kept]]
    )
    next_row: int = 0
    table: str = field(default_factory=lambda: uuid.uuid4().hex)
    published_at: datetime | None = None

    def advance(self) -> None:
        """Keep the version that readers saw, and go on with a copy."""
        self.past[self.version] = self.documents
        self.documents = dict(self.documents)
        self.version += 1
        self.published_at = datetime.now(UTC)


@dataclass(slots=True)
class _Record:
    """A collection; whoever reads or changes it holds `lock`."""

    name: str
    generations: dict[int, _Generation]
    current: int = 1
    building: int | None = None
    previous: int | None = None
    defaults: dict[str, Defaults] = field(default_factory=dict[str, Defaults])
    lock: threading.RLock = field(default_factory=threading.RLock)


class MemoryCollection:
    """Dictionaries of documents; every search looks at every row."""

    def __init__(self, record: _Record, number: int | None = None) -> None:
        self.name = record.name
        self._record = record
        self._number = number
        self._lock = record.lock

    @classmethod
    def alone(cls, spec: CollectionSpec, name: str = "docs") -> Self:
        """A collection of no store."""
        return cls(_Record(name, {1: _Generation(spec)}))

    @property
    def spec(self) -> CollectionSpec:
        return self._generation.spec

    @property
    def _generation(self) -> _Generation:
        number = self._number_now
        if number not in self._record.generations:
            raise NotFound(f"collection {self.name!r} has no generation {number}")
        return self._record.generations[number]

    def replace(
        self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
    ) -> None:
        with self._lock:
            generation = self._generation
            self._refuse_other(spec)
            check_documents(documents, generation.spec)
            generation.advance()
            for rows in documents:
                generation.documents.pop(rows.document.key, None)
                if rows.chunks:
                    kept = _Kept(rows.document, rows.content_hash, self._rows(rows))
                    generation.documents[rows.document.key] = kept

    def _refuse_other(self, spec: CollectionSpec | None) -> None:
        if spec is not None and spec != self.spec:
            raise GenerationChanged(f"{self.name!r} has another spec now: embed for that one")

    def _refuse_foreign(self, keys: Iterable[DocumentKey]) -> None:
        check_tenants(self.name, self.spec, (key.tenant for key in keys))

    def _rows(self, rows: DocumentRows) -> list[_Row]:
        document = rows.document
        generation = self._generation
        first, generation.next_row = generation.next_row, generation.next_row + len(rows.chunks)
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
            self._refuse_foreign(keys)
            generation = self._generation
            generation.advance()
            found = [key for key in set(keys) if generation.documents.pop(key, None) is not None]
            return len(found)

    def settle(self) -> None:
        """Nothing waits: readers and writers exclude each other."""

    def tidy(self) -> None:
        """There are no files."""

    def compact(self, retention: timedelta) -> Compaction:  # noqa: ARG002 - there is one version
        return Compaction(1, 1, 0)

    def purge(self) -> Compaction:
        with self._lock:
            self._generation.past.clear()
        return Compaction(1, 1, 0)

    def content_hashes(self, keys: Iterable[DocumentKey]) -> dict[DocumentKey, str]:
        with self._lock:
            wanted = list(keys)
            self._refuse_foreign(wanted)
            documents = self._generation.documents
            return {key: documents[key].content_hash for key in wanted if key in documents}

    def keys(self, tenant: str, source: str) -> list[DocumentKey]:
        with self._lock:
            check_tenants(self.name, self.spec, [tenant])
            keys = list(self._generation.documents)
        return [key for key in keys if (key.tenant, key.source) == (tenant, source)]

    def hashes(self) -> Iterator[Mapping[DocumentKey, str]]:
        with self._lock:
            kept = self._generation.documents
            yield {key: each.content_hash for key, each in kept.items()}

    def changed(self, since: Snapshot) -> list[DocumentKey]:
        with self._lock:
            before, now = self._documents_at(since), self._generation.documents
            return [key for key in before | now if before.get(key) is not now.get(key)]

    def find(self, filter: Filter, tenant: str) -> list[DocumentKey]:
        with self._lock:
            check_tenants(self.name, self.spec, [tenant])
            found = [row.chunk for row in self._all() if self._allowed(row, tenant, filter)]
        return list(dict.fromkeys(DocumentKey(c.tenant, c.source, c.document_id) for c in found))

    def embeddings_by_text(self, keys: Sequence[DocumentKey]) -> dict[str, Representation]:
        with self._lock:
            self._refuse_foreign(keys)
            documents = self._generation.documents
            rows = [row for key in keys if key in documents for row in documents[key].rows]
            context = self.spec.chunking.context
            return {text_hash(row.chunk.model_text(context)): row.embedding for row in rows}

    def document(self, key: DocumentKey) -> StoredDocument | None:
        with self._lock:
            self._refuse_foreign([key])
            kept = self._generation.documents.get(key)
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
            self._refuse_foreign(keys)
            documents = self._generation.documents
            return [documents[key].document for key in keys if key in documents]

    def scan(self, tenant: str, source: str) -> Iterator[Rows]:
        keys = self.keys(tenant, source)
        with self._lock:
            kept = [self._generation.documents[key] for key in keys]
        for each in kept:
            yield _together(each.rows)

    def candidates(
        self,
        query: Representation,
        *,
        legs: Sequence[Leg],
        depth: int,
        tenant: str,
        filter: Filter | None = None,
        words: Words | None = None,
        spec: CollectionSpec | None = None,
        within: float | None = None,  # noqa: ARG002 - nothing is waited for
        codes: bool = True,
    ) -> Candidates:
        with self._lock:
            self._refuse_other(spec)
            check_tenants(self.name, self.spec, [tenant])
            rows = [row for row in self._all() if self._allowed(row, tenant, filter, words)]
            snapshot = Snapshot(self._generation.table, self._generation.version)
        found: dict[Leg, list[int]] = {leg: _best(leg, query, rows, depth) for leg in legs}
        union = set[int]().union(*found.values())
        chosen = [row for row in rows if row.chunk.row in union]
        return Candidates(
            rows=_scored(chosen, codes=codes),
            legs=found,
            snapshot=snapshot,
        )

    def rows(self, ids: Sequence[int], *, tenant: str, snapshot: Snapshot) -> CandidateRows:
        return _scored(self._of(ids, tenant, snapshot))

    def chunks(
        self, ids: Sequence[int], *, tenant: str, snapshot: Snapshot
    ) -> dict[int, StoredChunk]:
        return {row.chunk.row: row.chunk for row in self._of(ids, tenant, snapshot)}

    def _of(self, ids: Sequence[int], tenant: str, snapshot: Snapshot) -> list[_Row]:
        found = [row for row in self._at(snapshot) if row.chunk.row in set(ids)]
        return [row for row in found if row.chunk.tenant == tenant]

    def around(
        self, chunks: Sequence[StoredChunk], reach: int, snapshot: Snapshot
    ) -> dict[int, list[StoredChunk]]:
        all_ = [row.chunk for row in self._at(snapshot)]
        return {
            chunk.row: [
                each
                for each in all_
                if each.key == chunk.key and each.position in chunk.near(reach)
            ]
            for chunk in chunks
        }

    def _at(self, snapshot: Snapshot) -> list[_Row]:
        return [row for each in self._documents_at(snapshot).values() for row in each.rows]

    def _documents_at(self, snapshot: Snapshot) -> dict[DocumentKey, _Kept]:
        with self._lock:
            generation = self._generation
            kept = {**generation.past, generation.version: generation.documents}
            if snapshot.table != generation.table or snapshot.version not in kept:
                raise SnapshotGone(f"{self.name!r} has gone on")
            return kept[snapshot.version]

    @property
    def _number_now(self) -> int:
        return self._record.current if self._number is None else self._number

    def _all(self) -> Iterator[_Row]:
        return (row for kept in self._generation.documents.values() for row in kept.rows)

    def _allowed(
        self, row: _Row, tenant: str, filter_: Filter | None, words: Words | None = None
    ) -> bool:
        if row.chunk.tenant != tenant:
            return False
        if words and not words.allow(row.chunk.title, row.chunk.text):
            return False
        if filter_ is None:
            return True
        return matches(filter_, field_values(row.chunk.metadata, self.spec.fields))

    def snapshot(self) -> Snapshot:
        with self._lock:
            return Snapshot(self._generation.table, self._generation.version)

    def defaults(self, spec: CollectionSpec) -> Defaults:
        with self._lock:
            return self._record.defaults.get(spec.fingerprint, Defaults())

    def save_defaults(self, defaults: Defaults, spec: CollectionSpec) -> None:
        check_defaults(defaults)
        with self._lock:
            self._record.defaults[spec.fingerprint] = defaults

    def status(self) -> Status:
        with self._lock:
            rows = list(self._all())
            return Status(
                name=self.name,
                generation=self._number_now,
                version=self._generation.version,
                documents=len(self._generation.documents),
                chunks=len(rows),
                bytes=sum(row.embedding.codes.nbytes + row.embedding.dense.nbytes for row in rows),
                unpublished=0,
                lag_seconds=0.0,
                published_at=self._generation.published_at,
                spec=self.spec,
                defaults=self.defaults(self.spec),
            )

    def counts(self, tenant: str) -> Counts:
        with self._lock:
            check_tenants(self.name, self.spec, [tenant])
            documents = [key for key in self._generation.documents if key.tenant == tenant]
            chunks = sum(row.chunk.tenant == tenant for row in self._all())
        return Counts(len(documents), chunks)

    def verify(self, *, repair: bool = False) -> Verification:
        return Verification(
            chunks=self.status().chunks, missing=0, stale=0, corrupt=(), repaired=repair
        )

    def close(self) -> None:
        """Nothing is held."""


def _together(rows: Sequence[_Row]) -> Rows:
    embeddings = batch_of([row.embedding for row in rows]) if rows else None
    return Rows([row.chunk for row in rows], embeddings)


def _scored(rows: Sequence[_Row], *, codes: bool = True) -> CandidateRows:
    batches = [batch_of([row.embedding for row in rows], colbert=codes)] if rows else []
    return CandidateRows([_key(row.chunk) for row in rows], batches)


def _key(chunk: StoredChunk) -> ChunkKey:
    return ChunkKey(chunk.row, chunk.tenant, chunk.source, chunk.document_id, chunk.position)


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
        self._records: dict[str, _Record] = {}

    def create(self, name: str, spec: CollectionSpec) -> Collection:
        check_name(name)
        check_spec(spec)
        if name in self._records:
            raise AlreadyExists(f"collection {name!r} exists already")
        self._records[name] = _Record(name, {1: _Generation(spec)})
        return MemoryCollection(self._records[name])

    def open(self, name: str, generation: int | None = None) -> Collection:
        record = self._record(name)
        if generation is not None:
            _known(record, generation)
        return MemoryCollection(record, generation)

    def generations(self, name: str) -> Generations:
        record = self._record(name)
        with record.lock:
            return Generations(
                specs={number: each.spec for number, each in record.generations.items()},
                current=record.current,
                building=record.building,
                previous=record.previous,
            )

    def begin(self, name: str, spec: CollectionSpec) -> int:
        check_spec(spec)
        record = self._record(name)
        with record.lock:
            if record.building is not None:
                raise AlreadyExists(f"generation {record.building} of {name!r} is being made")
            number = max(record.generations) + 1
            record.generations[number] = _Generation(spec)
            record.building = number
            return number

    @contextmanager
    def closing(self, name: str, to: int) -> Generator[None]:
        record = self._record(name)
        with record.lock:
            _known(record, to)
            yield

    def serve(self, name: str, number: int) -> None:
        record = self._record(name)
        with record.lock:
            _known(record, number)
            if record.previous not in (None, number):
                del record.generations[record.previous]
            record.previous, record.current = record.current, number
            record.building = None if record.building == number else record.building

    def discard(self, name: str, number: int) -> None:
        record = self._record(name)
        with record.lock:
            _known(record, number)
            if number == record.current:
                raise InvalidInput(f"generation {number} of {name!r} serves: promote another first")
            del record.generations[number]
            record.building = None if record.building == number else record.building
            record.previous = None if record.previous == number else record.previous

    def names(self) -> list[str]:
        return sorted(self._records)

    def drop(self, name: str) -> None:
        self._record(name)
        del self._records[name]

    def close(self) -> None:
        """Nothing is held."""

    def _record(self, name: str) -> _Record:
        if name not in self._records:
            raise unknown_collection(name, self.names())
        return self._records[name]


def _known(record: _Record, number: int) -> None:
    if number not in record.generations:
        raise NotFound(f"collection {record.name!r} has no generation {number}")
