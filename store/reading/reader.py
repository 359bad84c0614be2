"""Reading from a snapshot: candidates from the index, rows from the published version."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from m3.errors import Overtaken, SnapshotGone, StoredDataError
from m3.types import DocumentKey
from store.candidates import CandidateRows, Candidates, Leg, Snapshot
from store.checks import check_tenants
from store.chunks import StoredChunk, StoredDocument
from store.generations.generation import Generations
from store.generations.publication import READER_SECONDS
from store.reading.kept import Hot
from store.reading.legs import Legs
from store.reading.question import Question
from store.reading.rows import RowReader
from store.reading.threads import Threads
from store.reading.vectors import selected
from store.registry import Generation
from store.table.rows import TEXT_COLUMNS, to_chunks
from store.table.sql import literal
from store.table.version import Version

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Snapshot:
    generation: Generation
    version: Version


class Reader:
    """Reads one collection; safe from many threads."""

    def __init__(self, generations: Generations, threads: Threads, hot: Hot) -> None:
        self._generations = generations
        self._threads = threads
        self._hot = hot
        self._kept: _Snapshot | None = None

    def document(self, key: DocumentKey) -> StoredDocument | None:
        """One document of the published version."""
        columns = [*TEXT_COLUMNS, "content_hash"]
        snapshot = self._snapshot()
        check_tenants(self._generations.name, snapshot.generation.spec, [key.tenant])
        rows = snapshot.version.of_documents([key.digest()], columns)
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
            spec = snapshot.generation.spec
            check_tenants(self._generations.name, spec, [question.tenant])
            try:
                found = self._find(snapshot, legs, question)
            except StoredDataError:
                # A purge may have taken away what was published when this began.
                if not self._overtaken(started, snapshot):
                    raise
            else:
                if not self._overtaken(started, snapshot):
                    return found
        raise Overtaken(
            f"searches of {self._generations.name!r} take over {READER_SECONDS:g} s while it is "
            "written to: try again when the machine is less busy"
        )

    def _overtaken(self, started: float, snapshot: _Snapshot) -> bool:
        """Whether what was asked for since may have been swept or taken away meanwhile."""
        in_time = time.monotonic() - started < READER_SECONDS
        return not in_time and self._generations.current().published != snapshot.version.number

    def _find(self, snapshot: _Snapshot, legs: Sequence[Leg], question: Question) -> Candidates:
        generation, version = snapshot.generation, snapshot.version
        index = self._generations.index(generation)
        searched = Legs(index, self._rows(snapshot), question, self._threads.legs)
        found, rows, failed = searched.best(legs)
        return Candidates(rows, found, Snapshot(generation.table, version.number), failed)

    def rows(self, ids: Sequence[int], tenant: str, snapshot: Snapshot) -> CandidateRows:
        """Those of these rows that a snapshot has of a tenant."""
        vectors = self._rows(self.pinned(snapshot)).vectors()
        vectors.ask(ids)
        return selected(vectors.read(), lambda chunk: chunk.tenant == tenant)

    def chunks(self, ids: Sequence[int], tenant: str, snapshot: Snapshot) -> dict[int, StoredChunk]:
        """The texts of the same, by row."""
        found = self._rows(self.pinned(snapshot)).chunks(sorted(ids))
        return {chunk.row: chunk for chunk in found if chunk.tenant == tenant}

    def _rows(self, snapshot: _Snapshot) -> RowReader:
        of = snapshot.generation
        return RowReader(of.table, snapshot.version, of.spec, self._hot, self._threads.rows)

    def around(
        self, chunks: Sequence[StoredChunk], reach: int, snapshot: Snapshot
    ) -> dict[int, list[StoredChunk]]:
        """The neighbours of each chunk, by its row."""
        documents = ", ".join(sorted({literal(chunk.key.digest()) for chunk in chunks}))
        near = {place for chunk in chunks for place in chunk.near(reach)}
        if not near:
            return {chunk.row: [] for chunk in chunks}
        condition = f"document in ({documents}) and position in ({', '.join(map(str, near))})"
        rows = self.pinned(snapshot).version.scan(TEXT_COLUMNS, condition)
        found = {(each.key, each.position): each for some in rows for each in to_chunks(some)}
        return {
            chunk.row: [found[chunk.key, place] for place in chunk.near(reach)] for chunk in chunks
        }

    def pinned(self, snapshot: Snapshot) -> _Snapshot:
        """A snapshot of before, as long as its version is kept."""
        now = self._snapshot()
        gone = SnapshotGone(
            f"{self._generations.name!r} has gone on, and what was read before is kept no longer"
        )
        if now.generation.table != snapshot.table:
            raise gone
        if now.version.number == snapshot.version:
            return now
        try:
            version = self._generations.table(now.generation).at(snapshot.version)
        except StoredDataError as error:
            raise gone from error
        return _Snapshot(now.generation, version)

    def _snapshot(self) -> _Snapshot:
        """What readers see now. Opening a version takes a millisecond, so the last is kept."""
        generation, kept = self._generations.current(), self._kept
        if (
            kept is None
            or kept.generation.table != generation.table
            or kept.generation.published != generation.published
            or kept.generation.engine != generation.engine
        ):
            version = self._generations.table(generation).at(generation.published)
            kept = self._kept = _Snapshot(generation, version)
        return kept
