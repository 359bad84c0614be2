"""What the search API runs on: the service, and ingest's writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from commands.search.parts import open_service
from embedder.client import EmbedderClient
from ingest.cutting.chunkers import Chunkers
from ingest.running.pipeline import ingest
from ingest.sources import Reject
from m3.errors import InvalidInput
from m3.settings import Settings
from m3.types import Document
from search.collections import Collections
from search.parts import Parts
from search.readiness import NodeProbe
from search.written import Written


class Writer:
    """One document at a time, the way that `m3-ingest run` goes with many."""

    def __init__(self, collections: Collections, client: EmbedderClient) -> None:
        self._collections = collections
        self._client = client
        self._chunkers = Chunkers(client)

    async def write(self, collection: str, document: Document) -> Written:
        opened = await asyncio.to_thread(self._collections.open, collection)
        rejects: list[Reject] = []
        report = await ingest(
            [document],
            opened,
            self._client,
            chunkers=self._chunkers,
            on_reject=rejects.append,
            settle=False,
        )
        for reject in rejects:
            raise reject.error or InvalidInput(reject.reason)
        if report.unchanged:
            return Written("unchanged", 0)
        return Written("replaced" if report.replaced else "created", report.chunks)


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncGenerator[Parts]:
    """What the search API runs on."""
    async with open_service(settings) as (service, client):
        probe = NodeProbe(settings.embedder_url)
        try:
            yield Parts(service, client, Writer(service.collections, client), probe.check)
        finally:
            await probe.aclose()
