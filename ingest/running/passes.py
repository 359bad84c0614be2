"""One pass of a run, for one generation: plan, embed and write at once, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ingest.running.embedding import Embedder, stored_vectors
from ingest.running.fleet import REQUEST_TOKENS, Fleet, Leave
from ingest.running.packing import Embedded, Packer
from ingest.running.planning import Plan, Work
from ingest.running.report import Report
from ingest.running.tally import Tally, written_report
from ingest.running.tasks import Budget, together, until
from ingest.sources import Parsed
from ingest.sources.base import Stage
from m3 import tracing
from m3.errors import EmbedderUnreachable, GenerationChanged, InvalidInput, M3Error, ModelMismatch
from store.contract import Collection
from store.spec import CollectionSpec

_WRITE_CHUNKS = 1_024
_WRITE_TOKENS = 32_768
"""About 34 MB of BGE-M3's ColBERT codes; a longer document is a write by itself."""
_HELD_TOKENS = 2 * _WRITE_TOKENS
"""Planned and not yet written: their vectors are in memory, or soon will be."""
_WRITE_SECONDS = 5.0
"""As long as embedded documents wait for others: a write costs much the same for few and many."""
_LOOK_TOKENS = 4 * REQUEST_TOKENS
"""Of changed documents whose stored vectors are read at once."""


class Pass:
    """A reader that plans, requests and a writer, with short queues between them.

    Attributes:
        moved: whether a generation of another spec came to serve, which ends the pass.
    """

    def __init__(
        self,
        collection: Collection,
        spec: CollectionSpec,
        embedder: Embedder,
        fleet: Fleet,
        tally: Tally,
    ) -> None:
        self._collection = collection
        self._spec = spec
        self._embedder = embedder
        self._fleet = fleet
        self._tally = tally
        self._packer = Packer()
        self._budget = Budget(_HELD_TOKENS)
        self._moved = anyio.Event()
        self._tidying = False
        self._left: dict[int, Work] = {}

    @property
    def moved(self) -> bool:
        return self._moved.is_set()

    async def run(self, plans: AsyncIterator[Plan], stop: anyio.Event) -> list[Parsed]:
        """Whatever stops reading or embedding, what is embedded is written before it is raised.

        Returns:
            Documents that were planned and are neither written nor failed.
        """
        stopped_by: M3Error | None = None
        async with together() as writing:
            send, receive = anyio.create_memory_object_stream[list[Embedded]](0)
            writing.start_soon(self._write_all, receive)
            async with send:
                try:
                    async with until(stop), until(self._moved):
                        await self._embed_all(plans, send)
                except M3Error as error:
                    stopped_by = error
        gone = isinstance(stopped_by, ModelMismatch | EmbedderUnreachable)
        if gone and await self._overtaken():
            self._moved.set()
        elif stopped_by is not None:
            raise stopped_by
        return [work.parsed for work in self._left.values()]

    async def _overtaken(self) -> bool:
        return await to_thread.run_sync(lambda: self._collection.spec) != self._spec

    async def _embed_all(
        self, plans: AsyncIterator[Plan], embedded: MemoryObjectSendStream[list[Embedded]]
    ) -> None:
        async with together() as tasks:
            tasks.start_soon(self._plan_all, plans, embedded)
            while True:
                leave = await self._fleet.leave()
                try:
                    texts = await self._packer.take()
                except BaseException:
                    self._fleet.give_back(leave)
                    raise
                if texts is None:
                    self._fleet.give_back(leave)
                    return
                tasks.start_soon(self._embed, texts, leave, embedded)

    async def _plan_all(
        self, plans: AsyncIterator[Plan], embedded: MemoryObjectSendStream[list[Embedded]]
    ) -> None:
        async for plan in plans:
            self._tally.planned(plan)
            self._left |= {id(work): work for work in plan.changed}
            for some in _groups(plan.changed):
                stored = await to_thread.run_sync(
                    stored_vectors, some, self._collection, self._spec
                )
                for work in some:
                    await self._budget.hold(work.tokens)
                    if ready := self._packer.add(work, stored):
                        await self._hand_on([ready], embedded)
        self._packer.end()

    async def _embed(
        self,
        texts: Mapping[str, int],
        leave: Leave,
        embedded: MemoryObjectSendStream[list[Embedded]],
    ) -> None:
        async with self._fleet.request(leave):
            answers = await self._embedder.embed(texts, leave)
        self._tally.add(Report(tokens=sum(texts[text] for text in answers.vectors)))
        ready = self._packer.arrived(answers.vectors)
        if ready:
            await self._hand_on(ready, embedded)
        for text, error in answers.refused.items():
            for work in self._packer.given_up(text):
                self._reject(work, "embed", error)
                await self._budget.release(work.tokens)

    async def _hand_on(
        self, ready: list[Embedded], embedded: MemoryObjectSendStream[list[Embedded]]
    ) -> None:
        # What is embedded is written, whatever else has just failed.
        with anyio.CancelScope(shield=True):
            await embedded.send(ready)

    async def _write_all(self, embedded: MemoryObjectReceiveStream[list[Embedded]]) -> None:
        async with embedded, together() as beside:
            writes = 0
            async for ready in _writes(embedded):
                # A run of one write is not held up by what many before it have left.
                if writes and not self._tidying:
                    self._tidying = True
                    beside.start_soon(self._tidy)
                await self._write(ready)
                await self._budget.release(_tokens([one.work for one in ready]))
                writes += 1

    async def _tidy(self) -> None:
        """Small files are made few while the run goes on, or every look into them takes longer."""
        await to_thread.run_sync(self._collection.tidy)
        self._tidying = False

    async def _write(self, ready: Sequence[Embedded]) -> None:
        rows = [one.rows for one in ready]
        try:
            with tracing.span("ingest.write", {"m3.documents": len(ready)}):
                await to_thread.run_sync(self._collection.replace, rows, self._spec)
        except GenerationChanged:
            self._moved.set()
        except InvalidInput as error:
            if len(ready) == 1:
                self._reject(ready[0].work, "write", error)
                return
            for one in ready:
                await self._write([one])
        else:
            for one in ready:
                del self._left[id(one.work)]
            self._tally.add(sum((written_report(one.work, one.reused) for one in ready), Report()))

    def _reject(self, work: Work, stage: Stage, error: M3Error) -> None:
        del self._left[id(work)]
        self._tally.reject(work.parsed.reject(stage, error))


def _groups(works: Sequence[Work]) -> Iterator[list[Work]]:
    group: list[Work] = []
    for work in works:
        if group and _tokens(group) + work.tokens > _LOOK_TOKENS:
            yield group
            group = []
        group.append(work)
    if group:
        yield group


async def _writes(
    embedded: MemoryObjectReceiveStream[list[Embedded]],
) -> AsyncIterator[list[Embedded]]:
    """What has arrived, once it is enough for a write or has waited."""
    waiting: list[Embedded] = []
    while True:
        if not waiting:
            try:
                waiting = list(await embedded.receive())
            except anyio.EndOfStream:
                return
        with anyio.move_on_after(_WRITE_SECONDS):
            while not _enough(waiting):
                try:
                    waiting += await embedded.receive()
                except anyio.EndOfStream:
                    break
        count = _enough(waiting) or len(waiting)
        yield waiting[:count]
        del waiting[:count]


def _enough(waiting: Sequence[Embedded]) -> int:
    """How many of the first make a write; 0 where all are too few."""
    chunks = tokens = 0
    for count, one in enumerate(waiting, start=1):
        chunks += len(one.work.passages)
        tokens += one.work.tokens
        if chunks >= _WRITE_CHUNKS or tokens >= _WRITE_TOKENS:
            return count
    return 0


def _tokens(works: Iterable[Work]) -> int:
    return sum(work.tokens for work in works)
