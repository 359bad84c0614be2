"""The search API as an app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from m3.settings import Settings
from search import page
from search import rerank_routes as rerank
from search.collection_routes import collection_routes, document_routes
from search.mcp import routes as mcp
from search.metrics import SearchMetrics
from search.parts import Parts
from search.routes import routes
from serving import cohere
from serving.application import create_app
from serving.lifecycle import Lifecycle

_DESCRIPTION = """Retrieval with all three representations of BGE-M3.

Candidates come from dense and learned sparse vectors; every candidate is scored exactly by
dense, sparse and ColBERT."""

OpenParts = Callable[[], AbstractAsyncContextManager[Parts]]


def create(settings: Settings, open_parts: OpenParts) -> FastAPI:
    """The app; its parts are opened when it starts and closed when it ends.

    Raises:
        InvalidConfiguration: a keys file that cannot be used.
    """
    registry = CollectorRegistry()
    metrics = SearchMetrics(registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_parts() as parts:
            app.state.parts = parts
            metrics.watch(parts.service.breakers)
            yield

    async def ready() -> None:
        parts: Parts = app.state.parts
        await asyncio.to_thread(parts.service.collections.names)
        await parts.node_ready()

    app = create_app(
        title="m3-retrieval search",
        description=_DESCRIPTION,
        settings=settings,
        lifespan=lifespan,
        lifecycle=Lifecycle(ready),
        registry=registry,
        error_shapes={rerank.PATH: cohere.error_shape},
        is_open=page.is_open,
        is_quiet=page.is_file,
    )
    app.include_router(routes(metrics))
    app.include_router(rerank.routes())
    app.include_router(collection_routes(settings))
    app.include_router(document_routes())
    app.include_router(mcp.routes(settings, metrics))
    app.include_router(page.routes())
    return app
