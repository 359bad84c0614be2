"""How a run flows: what waits for what, and what is left when it stops."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import pytest

from ingest.running import fleet, packing, passes, pipeline
from ingest.running.pipeline import Item
from ingest.running.report import Report
from ingest.sources import Parsed, Place, Reject
from m3.errors import EmbedderUnreachable, InvalidInput, StorageFull
from m3.types import Document
from store.chunks import DocumentRows
from store.contract import Collection
from store.memory import MemoryCollection
from store.spec import Chunking, CollectionSpec
from tests.ingest.fakes import PARAGRAPH, CountingClient, counts, docs, run, spec
from tests.pace import until

pytestmark = pytest.mark.anyio


class SlowCollection(MemoryCollection):
    """A disk that takes its time: what is embedded waits for it."""

    def replace(
        self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
    ) -> None:
        time.sleep(0.1)
        super().replace(documents, spec)


async def test_a_failing_node_stops_the_run_and_a_rerun_completes(
    client: CountingClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packing, "REQUEST_TEXTS", 100)

    class Held(MemoryCollection):
        """Its first write takes until a node has failed: what is embedded waits for it."""

        def replace(
            self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
        ) -> None:
            until(lambda: client.failed)
            super().replace(documents, spec)

    collection = Held.alone(spec(Chunking(64, 0)))
    client.failure = EmbedderUnreachable("no node answers")
    client.fails_after = 1400
    items = docs(4000)
    with pytest.raises(EmbedderUnreachable, match="no node answers"):
        await run(items, collection, client)
    written = collection.status().documents
    assert 1400 <= written < 4000
    assert written == len(client.texts), "what was embedded is written"
    client.failure = None
    report = await run(items, collection, client)
    assert counts(report) == (4000, 4000 - written, written, 0)
    assert len(client.texts) == 4000


async def test_swift_nodes_get_more_requests_at_once(
    client: CountingClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    """All is planned at once: how fast it is read has no say in how much is under way."""
    monkeypatch.setattr(pipeline, "_READ_DOCUMENTS", 1500)
    monkeypatch.setattr(packing, "REQUEST_TEXTS", 100)
    monkeypatch.setattr(fleet, "_SWIFT_SECONDS", 60)
    client.seconds = 0.2
    await run(docs(1500), collection, client)
    assert 2 < max(client.beside) <= 16


async def test_slow_nodes_get_fewer_so_that_none_times_out(
    client: CountingClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "_READ_DOCUMENTS", 3000)
    monkeypatch.setattr(fleet, "_SWIFT_SECONDS", 0.01)
    monkeypatch.setattr(fleet, "_SLOW_SECONDS", 0.02)
    client.seconds = 0.05
    await run(docs(3000), collection, client)
    assert max(client.beside) <= 2
    assert len(client.beside) > 10
    assert set(client.beside[2:]) == {1}, "the first answer was slow"


async def test_requests_are_of_bounded_size(client: CountingClient, collection: Collection):
    text = " ".join(f"Sentence {i}. {PARAGRAPH}" for i in range(800))
    report = await run([Document("long", text), *docs(600)], collection, client)
    assert report.tokens > 4 * fleet.REQUEST_TOKENS
    assert max(client.requests) <= fleet.REQUEST_TEXTS
    assert len(client.requests) >= report.tokens / fleet.REQUEST_TOKENS


class FailingCollection(MemoryCollection):
    """Its disk is full after some documents."""

    def replace(
        self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
    ) -> None:
        if self.status().documents > 500:
            raise StorageFull("no room left")
        super().replace(documents, spec)


async def test_a_full_disk_stops_the_run(client: CountingClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passes, "_WRITE_CHUNKS", 256)
    monkeypatch.setattr(passes, "_HELD_TOKENS", 16_000)
    collection = FailingCollection.alone(spec(Chunking(64, 0)))
    with pytest.raises(StorageFull, match="no room left"):
        await run(docs(5000), collection, client)
    assert len(client.texts) < 5000


async def test_what_breaks_the_source_stops_the_run(client: CountingClient, collection: Collection):
    def items() -> Iterator[Item]:
        yield from docs(600)
        until(lambda: len(client.texts) == 512)  # what was read before
        raise InvalidInput("the source broke")

    with pytest.raises(InvalidInput, match="the source broke"):
        await run(items(), collection, client)
    assert collection.status().documents == len(client.texts) == 512


async def test_a_bug_is_raised_as_it_is(client: CountingClient, collection: Collection):
    def items() -> Iterator[Item]:
        yield from docs(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(items(), collection, client)


async def test_reading_waits_for_what_is_slower(
    client: CountingClient, monkeypatch: pytest.MonkeyPatch
):
    """However long the source, only so much of it is held at once."""
    monkeypatch.setattr(pipeline, "_READ_DOCUMENTS", 32)
    monkeypatch.setattr(packing, "REQUEST_TEXTS", 32)
    monkeypatch.setattr(passes, "_WRITE_CHUNKS", 32)
    monkeypatch.setattr(passes, "_HELD_TOKENS", 3200)
    collection = SlowCollection.alone(spec(Chunking(64, 0)))
    read, most_held = 0, 0

    def items() -> Iterator[Item]:
        nonlocal read, most_held
        for document in docs(1500):
            read += 1
            most_held = max(most_held, read - collection.status().documents)
            yield document

    report = await run(items(), collection, client)
    assert report.written == 1500
    assert most_held < 32 * 24


async def test_documents_are_never_split_between_writes(
    client: CountingClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(passes, "_WRITE_CHUNKS", 256)
    monkeypatch.setattr(passes, "_WRITE_SECONDS", math.inf)
    writes: list[int] = []

    class Watched(MemoryCollection):
        def replace(
            self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
        ) -> None:
            assert threading.current_thread() is not threading.main_thread()
            writes.append(sum(len(rows.chunks) for rows in documents))
            super().replace(documents, spec)

    collection = Watched.alone(spec(Chunking(16, 0)))
    items = [Document(f"d{i}", f"Number {i}. " + PARAGRAPH * (i % 40)) for i in range(200)]
    report = await run(items, collection, client)
    assert sum(writes) == report.chunks
    assert report.written == 200
    assert max(writes) < 256 + 600
    assert min(writes[:-1]) >= 256


async def test_what_waits_for_others_is_written_after_some_seconds(
    client: CountingClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(passes, "_WRITE_SECONDS", 0.1)
    monkeypatch.setattr(pipeline, "_READ_DOCUMENTS", 1)
    monkeypatch.setattr(packing, "REQUEST_TEXTS", 1)

    def items() -> Iterator[Item]:
        yield from docs(3)
        until(lambda: collection.status().documents)
        yield Document("last", "text")

    await run(items(), collection, client)
    assert collection.status().documents == 4


async def test_progress_adds_up(
    client: CountingClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ingest.running.passes._WRITE_CHUNKS", 256)
    told: list[Report] = []
    items: list[Item] = [
        Parsed(document, Place("a.jsonl", i), size=10) for i, document in enumerate(docs(700))
    ]
    items.append(Reject(Place("a.jsonl", 701), "bad", size=5))
    report = await run(items, collection, client, [], on_progress=told.append)
    assert report.bytes == told[-1].bytes == 7005
    for name in ("documents", "written", "chunks", "tokens", "bytes", "seconds"):
        values = [getattr(each, name) for each in told]
        assert values == sorted(values)
    assert len({each.written for each in told}) > 2


async def test_cancelling_leaves_whole_documents(
    client: CountingClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(passes, "_WRITE_CHUNKS", 16)
    collection = MemoryCollection.alone(spec(Chunking(16, 0)))
    text = " ".join(f"Sentence {i} is here." for i in range(9))
    items = [Document(f"d{i}", f"Number {i}. {text}") for i in range(2000)]

    def on_progress(report: Report) -> None:
        if report.written:
            scope.cancel()

    with anyio.CancelScope() as scope:
        await run(items, collection, client, on_progress=on_progress)
    assert scope.cancelled_caught
    written = collection.status().documents
    assert 0 < written < 2000
    client.texts.clear()
    report = await run(items[:written], collection, client)
    assert (report.unchanged, client.texts) == (written, [])


async def test_what_is_embedded_and_not_yet_written_is_bounded(
    client: CountingClient, monkeypatch: pytest.MonkeyPatch
):
    """Sixteen long documents at once would be gigabytes of vectors."""
    monkeypatch.setattr(passes, "_HELD_TOKENS", 5000)
    monkeypatch.setattr(passes, "_WRITE_SECONDS", 0.05)
    held: list[int] = []

    class Watched(SlowCollection):
        def replace(
            self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
        ) -> None:
            super().replace(documents, spec)
            held.append(len(client.texts) - self.status().chunks)

    def long(i: int, sentences: int) -> Document:
        return Document(f"d{i}", " ".join(f"Sentence {i}-{n} is here." for n in range(sentences)))

    items = (
        [long(i, 100) for i in range(24)] + [long(99, 1000)] + [long(i, 9) for i in range(24, 40)]
    )
    report = await run(items, Watched.alone(spec(Chunking(64, 0))), client)
    assert report.written == 41
    assert report.tokens > 5 * 5000
    assert max(held) <= 5000 / 50


async def test_a_run_that_is_stopped_writes_what_is_embedded(
    client: CountingClient, collection: Collection
):
    client.seconds = 0.2
    stop = anyio.Event()

    def on_progress(report: Report) -> None:
        if report.tokens:
            stop.set()

    report = await run(docs(5000), collection, client, on_progress=on_progress, stop=stop)
    assert 0 < report.written == collection.status().documents
    assert len(client.texts) < 5000
    client.seconds = 0
    assert (await run(docs(5000), collection, client)).unchanged == report.written


class Tidied(MemoryCollection):
    """Tidying ends when it was not waited for, or after a while."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.written = threading.Semaphore(0)
        self.beside: list[bool] = []

    def replace(
        self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
    ) -> None:
        super().replace(documents, spec)
        self.written.release()

    def tidy(self) -> None:
        # The write that it began with, and another.
        self.beside.append(all(self.written.acquire(timeout=60) for _ in range(3)))


async def test_a_long_run_is_tidied_beside_its_writes(
    client: CountingClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(passes, "_WRITE_CHUNKS", 16)
    monkeypatch.setattr(passes, "_WRITE_SECONDS", math.inf)
    collection = Tidied.alone(spec(Chunking(64, 0)))
    assert (await run(docs(16 * 12), collection, client)).written == 16 * 12
    assert collection.beside[0]
    assert 1 <= len(collection.beside) <= 4, "one at a time"


async def test_a_run_of_one_write_is_not_held_up_by_tidying(client: CountingClient):
    collection = Tidied.alone(spec(Chunking(64, 0)))
    await run(docs(3), collection, client)
    assert collection.beside == []
