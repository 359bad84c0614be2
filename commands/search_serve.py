"""What the search API runs on: the service, and a writer made of ingest's steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from commands.search_parts import open_service
from embedder.client import EmbedderClient
from ingest.chunking import Chunker
from ingest.embedding import Embedder
from ingest.pipeline import open_chunker
from ingest.planning import Plan, Planner
from ingest.sources import Parsed, Place
from m3.errors import GenerationChanged, InvalidInput
from m3.settings import Settings
from m3.types import Document
from search.collections import Collections
from search.parts import Parts, Written
from search.readiness import NodeProbe
from store.contract import Chunking, Collection, CollectionSpec


class Writer:
    """One document at a time, by the steps that `m3-ingest run` takes with many."""

    def __init__(self, collections: Collections, client: EmbedderClient) -> None:
        self._collections = collections
        self._client = client
        self._chunkers: dict[tuple[str, Chunking], Chunker] = {}

    async def write(self, collection: str, document: Document) -> Written:
        opened = await asyncio.to_thread(self._collections.open, collection)
        while True:
            try:
                return await self._write(opened, document)
            except GenerationChanged:
                continue

    async def _write(self, opened: Collection, document: Document) -> Written:
        spec = await asyncio.to_thread(lambda: opened.spec)
        planner = Planner(await self._chunker(spec), opened)
        place = Place(f"PUT {document.id}")
        plan = await asyncio.to_thread(planner.plan, [Parsed(document, place)])
        if not plan.changed:
            return _unwritten(plan)
        work = plan.changed[0]
        ready, _ = await Embedder(opened, self._client).embed([work])
        await asyncio.to_thread(opened.replace, [one.rows for one in ready], spec)
        return Written("replaced" if work.stored else "created", len(work.passages))

    async def _chunker(self, spec: CollectionSpec) -> Chunker:
        """Kept: the tokenizer of BGE-M3 alone is 17 MB on the wire."""
        key = (spec.fingerprint, spec.chunking)
        if key not in self._chunkers:
            self._chunkers[key] = await open_chunker(self._client, spec.chunking, spec.fingerprint)
        return self._chunkers[key]


def _unwritten(plan: Plan) -> Written:
    if plan.rejects:
        raise InvalidInput(plan.rejects[0].reason)
    return Written("unchanged", 0)


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncGenerator[Parts]:
    """What the search API runs on."""
    async with open_service(settings) as (service, client):
        probe = NodeProbe(settings.embedder_url)
        try:
            yield Parts(service, client, Writer(service.collections, client), probe.check)
        finally:
            await probe.aclose()
