"""The search service of this machine's settings, and one question to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from threadpoolctl import threadpool_limits

from commands.opened import store_and_nodes
from embedder.client import EmbedderClient
from m3.settings import Settings
from search.bodies import search_request
from search.response import as_json
from search.service import SearchService


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncGenerator[tuple[SearchService, EmbedderClient]]:
    """A search service over this machine's store and the settings' nodes."""
    # Searches run side by side. BLAS threads of each wait for each other by spinning: on a busy
    # machine that made one search ten times slower.
    threadpool_limits(1, user_api="blas")
    async with store_and_nodes(settings) as (store, client):
        yield SearchService(store, client), client


async def search_once(body: dict[str, Any], settings: Settings) -> tuple[dict[str, Any], bool]:
    """The answer as the API gives it, and whether the stand-in made the collection."""
    request = search_request(body)
    async with open_service(settings) as (service, _):
        answer = await service.search(request)
        collection = service.collections.open(request.collection)
        return as_json(answer), (await asyncio.to_thread(lambda: collection.spec)).stand_in
