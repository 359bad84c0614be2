"""A node's life: workers load the model behind a server that already answers its probes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from tokenizers import Tokenizer

from embedder.api.service import EmbeddingService
from embedder.batching.pool import Pool
from embedder.batching.process import Order
from embedder.batching.queue import Batcher
from embedder.batching.runner import Hello
from embedder.encoders.loading import EncoderName
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TextTokenizer
from m3.errors import InvalidCheckpoint, M3Error, NotReady
from m3.settings import Settings
from m3.types import ModelInfo
from serving.lifecycle import Lifecycle

_log = structlog.stdlib.get_logger("m3.embedder")


class Node:
    """Loads once, then serves. `service` is there from when `/readyz` first says so."""

    def __init__(
        self,
        settings: Settings,
        *,
        encoder: EncoderName = "packed",
        on_loaded: Callable[[ModelInfo], None] | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.settings = settings
        self.lifecycle = Lifecycle(self._check)
        self._metrics = NodeMetrics(self.registry)
        self._on_loaded = on_loaded
        self._batcher = Batcher(
            max_batch_tokens=settings.max_batch_tokens,
            max_queue_tokens=settings.max_queue_tokens,
            max_queue_seconds=settings.max_queue_seconds,
            metrics=self._metrics,
        )
        self._pool = Pool(
            Order(settings, encoder),
            listener=self._batcher.listener,
            metrics=self._metrics,
            on_failure=self._fail,
        )
        self._service: EmbeddingService | None = None

    @property
    def service(self) -> EmbeddingService:
        """Raises NotReady while the model is loading."""
        if self._service is None:
            raise NotReady(f"the model {self.settings.model} is loading: come back in a moment")
        return self._service

    @property
    def queued_tokens(self) -> int:
        return self._batcher.queued_tokens

    def load(self) -> Mapping[str, str]:
        """What waits, as headers of every answer: tokens, and the seconds they will take."""
        return {
            "X-Queue-Tokens": str(self._batcher.queued_tokens),
            "X-Queue-Seconds": f"{self._batcher.queued_seconds:.3f}",
        }

    async def _check(self) -> None:
        _ = self.service
        if not self._batcher.workers:
            raise NotReady("no worker is up: one is being started")

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        """Load beside the running server; at its end, end queue and workers."""
        loading = asyncio.create_task(self._load())
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            self._batcher.close()
            await self._pool.stop()

    async def _load(self) -> None:
        began = time.monotonic()
        try:
            hello = await self._pool.start()
            self._refuse_another(hello.info)
            # A tokenizer of 250,000 words takes a while to read.
            self._service = await asyncio.to_thread(self._service_of, hello)
        except Exception as error:  # noqa: BLE001 - `serve` ends with it
            self.lifecycle.fail(error)
            return
        _log.info(
            "model loaded",
            model=hello.info.id,
            fingerprint=hello.info.fingerprint,
            precision=hello.info.precision,
            engine=hello.engine,
            seconds=round(time.monotonic() - began, 1),
        )
        if self._on_loaded is not None:
            self._on_loaded(hello.info)

    def _refuse_another(self, model: ModelInfo) -> None:
        """Raises InvalidCheckpoint for a model that is not the one the settings name."""
        wanted = self.settings.fingerprint
        if wanted is not None and wanted != model.fingerprint:
            raise InvalidCheckpoint(
                f"{model.id} has the fingerprint {model.fingerprint}, and M3_FINGERPRINT wants "
                f"{wanted}: serve the model it names, or unset it"
            )

    def _service_of(self, hello: Hello) -> EmbeddingService:
        tokenizer = TextTokenizer(Tokenizer.from_str(hello.tokenizer), hello.special)
        return EmbeddingService(hello.info, hello.engine, tokenizer, self._batcher, self._metrics)

    def _fail(self, error: M3Error) -> None:
        """End the node, and with it who waits; `serve` raises `error`."""
        self._batcher.close(f"the node ends: {error.message}")
        self.lifecycle.fail(error)


def node_of(request: Request) -> Node:
    """The node a request came to."""
    node = request.app.state.node
    assert isinstance(node, Node)  # noqa: S101 - set by `create_node_app` alone
    return node


async def service_of(request: Request) -> EmbeddingService:
    """As a dependency of routes. Raises NotReady.

    A coroutine, because FastAPI calls a plain function in a thread: half of a refusal's cost.
    """
    return node_of(request).service
