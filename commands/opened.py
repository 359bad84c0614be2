"""The store and the nodes of this machine's settings, open together."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from anyio import to_thread

from embedder.client import EmbedderClient
from m3.settings import Settings
from store.contract import Store
from store.opening import open_store


@asynccontextmanager
async def store_and_nodes(
    settings: Settings, *, defer_index: bool = False
) -> AsyncGenerator[tuple[Store, EmbedderClient]]:
    """Both are closed at the end; nothing is started or contacted before it is needed."""
    store = await to_thread.run_sync(partial(open_store, settings, defer_index=defer_index))
    try:
        async with EmbedderClient.from_settings(settings) as client:
            yield store, client
    finally:
        await to_thread.run_sync(store.close)
