"""Documents into a collection: read, plan, embed and write at once, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

import anyio
from anyio import to_thread

from embedder.client import EmbedderClient
from ingest.cutting.chunkers import Chunkers
from ingest.cutting.chunking import Chunker
from ingest.running.embedding import Embedder, OnNote, Patience
from ingest.running.fleet import Fleet
from ingest.running.passes import Pass
from ingest.running.planning import Plan, Planner
from ingest.running.report import Progress, Report
from ingest.running.tally import OnReject, Tally, written_report
from ingest.sources import Parsed, Place, Reject
from m3.types import Document
from store.contract import Collection

Item: TypeAlias = Document | Parsed | Reject

_READ_DOCUMENTS = 256
_READ_CHARACTERS = 8 * 2**20


async def ingest(
    items: Iterable[Item],
    collection: Collection,
    client: EmbedderClient,
    *,
    chunkers: Chunkers | None = None,
    on_reject: OnReject,
    on_progress: Progress | None = None,
    on_note: OnNote = lambda _: None,
    patience: float = 0.0,
    stop: anyio.Event | None = None,
    settle: bool = True,
) -> Report:
    """Make these documents the collection's own: unchanged ones cost nothing, others replace.

    Args:
        items: read in a thread, as fast as the rest can take them.
        chunkers: where more than this run asks for them.
        on_reject: told of every document that fails; it alone fails.
        on_note: told in a line what is waited for.
        patience: seconds that a request is sent again for, where no node answers.
        stop: once it is set, no more is read or embedded; what is embedded is written.
        settle: whether to wait at the end until what was replaced has left the index.

    Raises:
        ModelMismatch: no node serves the collection's model.
        M3Error: what stops everything, such as an embedder or a store that does not answer.
            What was embedded by then is written, and a run of the same items goes on from there.
    """
    tally = Tally(on_reject, on_progress)
    chunkers = chunkers or Chunkers(client)
    run = _Run(collection, client, chunkers, tally, Patience(patience, on_note))
    await run.ingest(items, stop or anyio.Event())
    if settle:
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
    tally = Tally(on_reject, on_progress)
    async for plan in _plans(iter(items), (), Planner(collection), chunker):
        tally.planned(plan)
        for work in plan.changed:
            tally.add(written_report(work) + Report(tokens=work.tokens))
    return tally.report


class _Run:
    """Passes over the items: one, and another whenever a new generation began to serve."""

    def __init__(
        self,
        collection: Collection,
        client: EmbedderClient,
        chunkers: Chunkers,
        tally: Tally,
        patience: Patience,
    ) -> None:
        self._collection = collection
        self._client = client
        self._chunkers = chunkers
        self._tally = tally
        self._planner = Planner(collection)
        self._patience = patience
        self._fleet = Fleet()

    async def ingest(self, items: Iterable[Item], stop: anyio.Event) -> None:
        source, left = iter(items), list[Parsed]()
        while True:
            spec = await to_thread.run_sync(lambda: self._collection.spec)
            chunker = await self._chunkers.of(spec)
            embedder = Embedder(self._client, spec, self._fleet, self._patience)
            one = Pass(self._collection, spec, embedder, self._fleet, self._tally)
            left = await one.run(_plans(source, left, self._planner, chunker), stop)
            if stop.is_set() or not one.moved:
                return


async def _plans(
    source: Iterator[Item], again: Sequence[Parsed], planner: Planner, chunker: Chunker
) -> AsyncIterator[Plan]:
    """Plans for some documents at a time; reading and planning block a thread, not the loop."""
    for first in range(0, len(again), _READ_DOCUMENTS):
        some = again[first : first + _READ_DOCUMENTS]
        yield await to_thread.run_sync(planner.again, some, chunker)

    def next_plan() -> Plan | None:
        batch = list(_some(source))
        return planner.plan(batch, chunker) if batch else None

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
