"""Documents into a collection: read, plan, embed and write at once, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from embedder.client import EmbedderClient
from ingest.chunking import Chunker
from ingest.embedding import (
    MOST_REQUESTS,
    REQUEST_TEXTS,
    REQUEST_TOKENS,
    Embedded,
    Embedder,
)
from ingest.planning import Plan, Planner, Work
from ingest.report import Progress, Report
from ingest.sources import Parsed, Place, Reject
from ingest.tasks import Budget, together, until
from m3.errors import InvalidInput, M3Error
from m3.types import Document
from store.contract import Chunking, Collection

Item: TypeAlias = Document | Parsed | Reject
OnReject: TypeAlias = Callable[[Reject], None]

_READ_DOCUMENTS = 256
_READ_CHARACTERS = 8 * 2**20
_WRITE_CHUNKS = 256
_WRITE_TOKENS = 131_072
"""About 135 MB of BGE-M3's ColBERT codes; a longer document is a write by itself."""
_HELD_TOKENS = 4 * _WRITE_TOKENS
"""Planned and not yet written: their vectors are in memory, or soon will be."""
_WRITE_SECONDS = 5.0
"""As long as embedded documents wait for others: a write costs much the same for few and many."""


async def open_chunker(
    client: EmbedderClient, chunking: Chunking, fingerprint: str | None = None
) -> Chunker:
    """A chunker with a model's own tokenizer. Raises as the client does, and InvalidInput."""
    model = await client.model(fingerprint)
    tokenizer = await client.tokenizer(model.fingerprint)
    return Chunker(tokenizer, chunking, model.max_tokens)


async def ingest(
    items: Iterable[Item],
    collection: Collection,
    client: EmbedderClient,
    *,
    chunker: Chunker | None = None,
    on_reject: OnReject,
    on_progress: Progress | None = None,
    stop: anyio.Event | None = None,
) -> Report:
    """Make these documents the collection's own: unchanged ones cost nothing, others replace.

    Args:
        items: read in a thread, as fast as the rest can take them.
        chunker: the collection's, where it is at hand; else it is opened.
        on_reject: told of every document that fails; it alone fails.
        stop: once it is set, no more is read or embedded; what is embedded is written.

    Raises:
        ModelMismatch: no node serves the collection's model.
        M3Error: what stops everything, such as an embedder or a store that does not answer.
            What was embedded by then is written, and a run of the same items goes on from there.
    """
    if chunker is None:
        spec = collection.spec
        chunker = await open_chunker(client, spec.chunking, spec.fingerprint)
    tally = _Tally(on_reject, on_progress)
    run = _Run(collection, client, Planner(chunker, collection), tally)
    await run.ingest(items, stop or anyio.Event())
    await to_thread.run_sync(collection.settle)
    return tally.report


async def survey(
    items: Iterable[Item],
    collection: Collection | None,
    chunker: Chunker,
    *,
    on_reject: OnReject,
    on_progress: Progress | None = None,
) -> Report:
    """What `ingest` would do, by reading and cutting alone: nothing is embedded or written."""
    planner = Planner(chunker, collection)
    tally = _Tally(on_reject, on_progress)
    async for plan in _plans(items, planner):
        tally.planned(plan)
        for work in plan.changed:
            tally.add(_written(work) + Report(tokens=work.tokens))
    return tally.report


class _Run:
    """One run: a reader that plans, embedders and a writer, with short queues between them."""

    def __init__(
        self, collection: Collection, client: EmbedderClient, planner: Planner, tally: _Tally
    ) -> None:
        self._collection = collection
        self._embedder = Embedder(collection, client)
        self._planner = planner
        self._tally = tally
        self._budget = Budget(_HELD_TOKENS)

    async def ingest(self, items: Iterable[Item], stop: anyio.Event) -> None:
        """Whatever stops reading or embedding, what is embedded is written before it is raised."""
        stopped_by: M3Error | None = None
        async with together() as writing:
            send, receive = anyio.create_memory_object_stream[list[Embedded]](0)
            writing.start_soon(self._write_all, receive)
            async with send:
                try:
                    async with until(stop):
                        await self._embed_all(items, send)
                except M3Error as error:
                    stopped_by = error
        if stopped_by is not None:
            raise stopped_by

    async def _embed_all(
        self, items: Iterable[Item], embedded: MemoryObjectSendStream[list[Embedded]]
    ) -> None:
        async with together() as tasks:
            send, receive = anyio.create_memory_object_stream[list[Work]](0)
            tasks.start_soon(self._plan_all, items, send)
            for _ in range(MOST_REQUESTS):
                tasks.start_soon(self._embed_planned, receive.clone(), embedded)
            receive.close()

    async def _plan_all(
        self, items: Iterable[Item], planned: MemoryObjectSendStream[list[Work]]
    ) -> None:
        """Read and plan ahead of the embedders; hand on about as much as one request takes."""
        waiting: list[Work] = []
        async with planned:
            async for plan in _plans(items, self._planner):
                self._tally.planned(plan)
                for work in plan.changed:
                    if waiting and not _fits([*waiting, work], REQUEST_TEXTS, REQUEST_TOKENS):
                        await self._hand_on(waiting, planned)
                        waiting = []
                    waiting.append(work)
            if waiting:
                await self._hand_on(waiting, planned)

    async def _hand_on(
        self, works: list[Work], planned: MemoryObjectSendStream[list[Work]]
    ) -> None:
        await self._budget.hold(_tokens(works))
        await planned.send(works)

    async def _embed_planned(
        self,
        planned: MemoryObjectReceiveStream[list[Work]],
        embedded: MemoryObjectSendStream[list[Embedded]],
    ) -> None:
        async with planned:
            async for works in planned:
                if ready := await self._embed(works):
                    # What is embedded is written, whatever else has just failed.
                    with anyio.CancelScope(shield=True):
                        await embedded.send(ready)

    async def _embed(self, works: Sequence[Work]) -> list[Embedded]:
        try:
            ready, tokens = await self._embedder.embed(works)
        except InvalidInput as error:
            if len(works) > 1:
                return [one for work in works for one in await self._embed([work])]
            self._tally.reject(works[0].parsed.reject("embed", error.message))
            await self._budget.release(_tokens(works))
            return []
        self._tally.add(Report(tokens=tokens))
        return ready

    async def _write_all(self, embedded: MemoryObjectReceiveStream[list[Embedded]]) -> None:
        async with embedded:
            async for ready in _writes(embedded):
                await self._write(ready)
                await self._budget.release(_tokens([one.work for one in ready]))

    async def _write(self, ready: Sequence[Embedded]) -> None:
        try:
            await to_thread.run_sync(self._collection.replace, [one.rows for one in ready])
        except InvalidInput as error:
            if len(ready) == 1:
                self._tally.reject(ready[0].work.parsed.reject("write", error.message))
                return
            for one in ready:
                await self._write([one])
        else:
            self._tally.add(sum((_written(one.work, one.reused) for one in ready), Report()))


class _Tally:
    """The report so far, and who is told of it."""

    def __init__(self, on_reject: OnReject, on_progress: Progress | None) -> None:
        self._on_reject = on_reject
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._counts = Report()

    @property
    def report(self) -> Report:
        return replace(self._counts, seconds=time.monotonic() - self._started)

    def add(self, counts: Report) -> None:
        self._counts += counts
        if self._on_progress:
            self._on_progress(self.report)

    def reject(self, reject: Reject) -> None:
        self._on_reject(reject)
        self.add(Report(failed=1, bytes=reject.size))

    def planned(self, plan: Plan) -> None:
        """Count what was read; what changed is done with only when it is written."""
        read = len(plan.changed) + len(plan.unchanged) + len(plan.rejects)
        unchanged = sum(item.size for item in plan.unchanged)
        self.add(Report(documents=read, unchanged=len(plan.unchanged), bytes=unchanged))
        for reject in plan.rejects:
            self.reject(reject)


def _written(work: Work, reused: int = 0) -> Report:
    return Report(
        written=1,
        chunks=len(work.passages),
        reused=reused,
        truncated=int(any(passage.truncated for passage in work.passages)),
        bytes=work.parsed.size,
    )


async def _plans(items: Iterable[Item], planner: Planner) -> AsyncIterator[Plan]:
    """Plans for some documents at a time; reading and planning block a thread, not the loop."""
    source = iter(items)

    def next_plan() -> Plan | None:
        batch = list(_some(source))
        return planner.plan(batch) if batch else None

    while (plan := await to_thread.run_sync(next_plan)) is not None:
        yield plan


def _some(source: Iterator[Item]) -> Iterator[Parsed | Reject]:
    """Items for one look into the store: many small ones or a few long ones."""
    characters = 0
    for item in islice(source, _READ_DOCUMENTS):
        known = item if not isinstance(item, Document) else Parsed(item, Place(item.source))
        yield known
        characters += len(known.document.text) if isinstance(known, Parsed) else 0
        if characters >= _READ_CHARACTERS:
            return


async def _writes(
    embedded: MemoryObjectReceiveStream[list[Embedded]],
) -> AsyncIterator[list[Embedded]]:
    """What has arrived, once it is enough for a write or has waited."""
    async for first in embedded:
        ready = list(first)
        with anyio.move_on_after(_WRITE_SECONDS):
            while _fits([one.work for one in ready], _WRITE_CHUNKS - 1, _WRITE_TOKENS - 1):
                try:
                    ready += await embedded.receive()
                except anyio.EndOfStream:
                    break
        yield ready


def _fits(works: Sequence[Work], chunks: int, tokens: int) -> bool:
    return sum(len(work.passages) for work in works) <= chunks and _tokens(works) <= tokens


def _tokens(works: Iterable[Work]) -> int:
    return sum(work.tokens for work in works)
