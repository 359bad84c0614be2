"""Table and index as one collection: what the rest of the house calls."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow as pa

from m3.errors import GenerationChanged
from m3.types import Document, DocumentKey, Representation
from store.candidates import CandidateRows, Candidates, Leg, Snapshot
from store.checks import check_defaults, check_documents, check_tenants
from store.chunks import DocumentRows, Rows, StoredChunk, StoredDocument
from store.filters import Filter, field_values, matches
from store.generations.compaction import Compactor
from store.generations.generation import Generations
from store.generations.publication import Publisher
from store.generations.verification import verify
from store.reading.kept import Hot
from store.reading.question import Question
from store.reading.reader import Reader
from store.reading.threads import Threads
from store.registry import Generation
from store.reports import Compaction, Counts, Defaults, Status, Verification
from store.spec import CollectionSpec
from store.table.rows import (
    KEY_COLUMNS,
    ORIGINAL_COLUMNS,
    TEXT_COLUMNS,
    document_key,
    embedding_columns,
    schema,
    to_arrow,
    to_chunks,
    to_documents,
    to_embeddings,
    values,
)
from store.table.sql import literal
from store.words import Words


class StoredCollection:
    """A collection of the registry. A write is one table commit, then its publication."""

    def __init__(
        self,
        generations: Generations,
        threads: Threads,
        hot: Hot,
        publisher: Publisher,
    ) -> None:
        self._generations = generations
        self._publisher = publisher
        self._compactor = Compactor(generations, publisher)
        self._reader = Reader(generations, threads, hot)

    @property
    def name(self) -> str:
        return self._generations.name

    @property
    def spec(self) -> CollectionSpec:
        return self._generations.current().spec

    def replace(
        self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
    ) -> None:
        generation = self._publisher.caught_up()
        self._generations.refuse_other(generation, spec)
        check_documents(documents, generation.spec)
        if documents:
            rows = to_arrow(documents, generation.spec)
            digests = [rows.document.key.digest() for rows in documents]
            self._generations.table(generation).replace(rows, digests)
            self._publisher.publish()
            self._generations.acknowledge(generation)

    def delete(self, keys: Sequence[DocumentKey]) -> int:
        while True:
            try:
                return self._delete(set(keys))
            except GenerationChanged:
                continue

    def _delete(self, keys: Set[DocumentKey]) -> int:
        generation = self._admitted(self._publisher.caught_up(), keys)
        digests = [key.digest() for key in keys]
        table = self._generations.table(generation)
        there = sorted(set(values(table.latest().of_documents(digests, ["document"]), "document")))
        if there:
            table.replace(schema(generation.spec).empty_table(), there)
            self._publisher.publish()
            self._generations.acknowledge(generation)
        return len(there)

    def settle(self) -> None:
        self._publisher.settle()
        self._compactor.finish()

    def tidy(self) -> None:
        self._compactor.tidy()

    def compact(self, retention: timedelta) -> Compaction:
        return self._compactor.compact(retention)

    def purge(self) -> Compaction:
        return self._compactor.purge()

    def content_hashes(self, keys: Iterable[DocumentKey]) -> dict[DocumentKey, str]:
        # A commit that was never published counts, so that it is not embedded again.
        wanted = list(keys)
        generation = self._admitted(self._publisher.caught_up(), wanted)
        columns = [*KEY_COLUMNS, "content_hash"]
        digests = [key.digest() for key in wanted]
        rows = self._generations.table(generation).latest().of_documents(digests, columns)
        return {document_key(row): row["content_hash"] for row in rows.to_pylist()}

    def keys(self, tenant: str, source: str) -> list[DocumentKey]:
        check_tenants(self.name, self.spec, [tenant])
        firsts = self._firsts([], _of_source(tenant, source))
        return [key for rows in firsts for key in _keys(rows)]

    def hashes(self) -> Iterator[Mapping[DocumentKey, str]]:
        for rows in self._firsts(["content_hash"]):
            yield dict(zip(_keys(rows), values(rows, "content_hash"), strict=True))

    def changed(self, since: Snapshot) -> list[DocumentKey]:
        generation = self._publisher.caught_up()
        before = self._reader.pinned(since).version
        latest = self._generations.table(generation).latest()
        lost = before.take(before.over(latest).tolist(), KEY_COLUMNS)
        won = latest.take(latest.over(before).tolist(), KEY_COLUMNS)
        return list({*_keys(lost), *_keys(won)})

    def find(self, filter: Filter, tenant: str) -> list[DocumentKey]:
        spec = self.spec
        check_tenants(self.name, spec, [tenant])
        return [
            key
            for rows in self._firsts(["metadata"], f"tenant = {literal(tenant)}")
            for key, metadata in zip(_keys(rows), values(rows, "metadata"), strict=True)
            if matches(filter, field_values(orjson.loads(metadata), spec.fields))
        ]

    def _firsts(self, columns: Sequence[str], condition: str = "true") -> Iterator[pa.Table]:
        """The first row of every document of the newest version that meets the condition."""
        latest = self._generations.table(self._publisher.caught_up()).latest()
        return latest.scan([*KEY_COLUMNS, *columns], f"position = 0 and {condition}")

    def embeddings_by_text(self, keys: Sequence[DocumentKey]) -> dict[str, Representation]:
        generation = self._admitted(self._generations.current(), keys)
        latest = self._generations.table(generation).latest()
        digests = [key.digest() for key in keys]
        rows = latest.of_documents(digests, ["text_hash", *embedding_columns(generation.spec)])
        if not len(rows):
            return {}
        embeddings = to_embeddings(rows, generation.spec)
        return dict(zip(values(rows, "text_hash"), embeddings, strict=True))

    def _admitted(self, generation: Generation, keys: Iterable[DocumentKey]) -> Generation:
        check_tenants(self.name, generation.spec, (key.tenant for key in keys))
        return generation

    def document(self, key: DocumentKey) -> StoredDocument | None:
        return self._reader.document(key)

    def originals(self, keys: Sequence[DocumentKey]) -> list[Document]:
        generation = self._admitted(self._generations.current(), keys)
        latest = self._generations.table(generation).latest()
        columns = latest.having(ORIGINAL_COLUMNS)
        digests = [key.digest() for key in keys]
        return to_documents(latest.of_documents(digests, columns, first=True))

    def scan(self, tenant: str, source: str) -> Iterator[Rows]:
        generation = self._publisher.caught_up()
        check_tenants(self.name, generation.spec, [tenant])
        latest = self._generations.table(generation).latest()
        columns = [*TEXT_COLUMNS, *embedding_columns(generation.spec)]
        for rows in latest.scan(columns, _of_source(tenant, source), at_once=latest.at_once):
            if len(rows):
                yield Rows(to_chunks(rows), to_embeddings(rows, generation.spec))

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
        within: float | None = None,
        codes: bool = True,
    ) -> Candidates:
        ends = None if within is None else time.monotonic() + within
        question = Question(query, depth, tenant, filter, words, spec, ends, codes)
        return self._reader.candidates(legs, question)

    def rows(self, ids: Sequence[int], *, tenant: str, snapshot: Snapshot) -> CandidateRows:
        return self._reader.rows(ids, tenant, snapshot)

    def chunks(
        self, ids: Sequence[int], *, tenant: str, snapshot: Snapshot
    ) -> dict[int, StoredChunk]:
        return self._reader.chunks(ids, tenant, snapshot)

    def around(
        self, chunks: Sequence[StoredChunk], reach: int, snapshot: Snapshot
    ) -> dict[int, list[StoredChunk]]:
        return self._reader.around(chunks, reach, snapshot)

    def snapshot(self) -> Snapshot:
        generation = self._generations.current()
        return Snapshot(generation.table, generation.published)

    def defaults(self, spec: CollectionSpec) -> Defaults:
        return self._generations.defaults(spec.fingerprint)

    def save_defaults(self, defaults: Defaults, spec: CollectionSpec) -> None:
        check_defaults(defaults)
        self._generations.save_defaults(spec.fingerprint, defaults)

    def status(self) -> Status:
        generation = self._generations.current()
        table = self._generations.table(generation)
        version = table.at(generation.published)
        unpublished = table.latest_number() - generation.published
        waiting = table.committed_after(generation.published) if unpublished else None
        at = generation.published_at
        return Status(
            name=self.name,
            generation=generation.number,
            version=generation.published,
            documents=version.count("position = 0"),
            chunks=version.count(),
            bytes=version.bytes(),
            unpublished=unpublished,
            lag_seconds=max(0.0, time.time() - waiting.timestamp()) if waiting else 0.0,
            published_at=None if at is None else datetime.fromtimestamp(at, UTC),
            spec=generation.spec,
            defaults=self.defaults(generation.spec),
        )

    def counts(self, tenant: str) -> Counts:
        generation = self._generations.current()
        check_tenants(self.name, generation.spec, [tenant])
        version = self._generations.table(generation).at(generation.published)
        its = f"tenant = {literal(tenant)}"
        return Counts(version.count(f"{its} and position = 0"), version.count(its))

    def verify(self, *, repair: bool = False) -> Verification:
        return verify(self._generations, self._publisher, repair=repair)

    def close(self) -> None:
        """What is open belongs to the store."""


def _of_source(tenant: str, source: str) -> str:
    return f"tenant = {literal(tenant)} and source = {literal(source)}"


def _keys(rows: pa.Table) -> list[DocumentKey]:
    return [document_key(row) for row in rows.select(KEY_COLUMNS).to_pylist()]
