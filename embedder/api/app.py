"""The node as a FastAPI app."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware import Middleware

from embedder import page
from embedder.api import document, openai, rerank, routes
from embedder.api.early import EarlyRefusal
from embedder.api.node import Node
from embedder.encoders.loading import EncoderName
from m3.settings import Settings
from m3.types import ModelInfo
from serving import cohere
from serving.application import create_app


def create_node_app(
    settings: Settings,
    *,
    encoder: EncoderName = "packed",
    on_loaded: Callable[[ModelInfo], None] | None = None,
) -> FastAPI:
    """A node that loads `settings.model` once it is served.

    Args:
        encoder: ours, or FlagEmbedding's to compare with.
        on_loaded: told what was loaded.

    Raises:
        InvalidConfiguration: a keys file that cannot be used.
    """
    node = Node(settings, encoder=encoder, on_loaded=on_loaded)
    app = create_app(
        title="m3-embedder",
        description="Dense, sparse and ColBERT representations of texts, by BGE-M3.",
        settings=settings,
        lifespan=node.lifespan,
        lifecycle=node.lifecycle,
        registry=node.registry,
        answer_headers=node.load,
        error_shapes={
            **dict.fromkeys((openai.PATH, openai.MODEL_PATH), openai.error_shape),
            **dict.fromkeys(rerank.PATHS, cohere.error_shape),
        },
        is_open=page.is_open,
        is_quiet=page.is_file,
    )
    app.state.node = node
    entries = (routes.ENTRY, openai.ENTRY, *rerank.ENTRIES)
    # Within ids, counts, keys and the limit of a body, which a refusal needs as well.
    app.user_middleware.append(Middleware(EarlyRefusal, node=node, entries=entries))
    app.include_router(routes.routes)
    app.include_router(openai.routes)
    app.include_router(rerank.routes)
    page.install(app, node)
    document.install(app, node)
    return app
