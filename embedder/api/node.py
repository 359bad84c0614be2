"""A node's life: the model is loaded behind a server that already answers its probes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import structlog
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry

from embedder.api.service import EmbeddingService
from embedder.encoders.encoder import encode
from embedder.encoders.loading import EncoderName, load_encoder
from embedder.metrics import NodeMetrics
from m3.errors import NotReady
from m3.settings import Settings
from m3.types import OUTPUTS, ModelInfo
from serving.lifecycle import Lifecycle

T = TypeVar("T")
_log = structlog.stdlib.get_logger("m3.embedder")


class Node:
    """Loads once, then serves. `service` is there from when `/readyz` says so."""

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
        self._encoder: EncoderName = encoder
        self._on_loaded = on_loaded
        self._service: EmbeddingService | None = None

    @property
    def service(self) -> EmbeddingService:
        """Raises NotReady while the model is loading."""
        if self._service is None:
            raise NotReady(f"the model {self.settings.model} is loading: come back in a moment")
        return self._service

    @property
    def queued_tokens(self) -> int:
        return self._service.batcher.queued_tokens if self._service else 0

    async def _check(self) -> None:
        _ = self.service

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        """Load beside the running server, and close the queue at its end."""
        async with AsyncExitStack() as stack:
            loading = asyncio.create_task(self._load(stack))
            try:
                yield
            finally:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)

    async def _load(self, stack: AsyncExitStack) -> None:
        from embedder.batching.queue import Batcher  # noqa: PLC0415 - keeps start-up quick

        began = time.monotonic()
        try:
            encoder = await _in_daemon(lambda: load_encoder(self.settings, self._encoder))
            batcher = Batcher(
                partial(encode, encoder),
                max_batch_tokens=self.settings.max_batch_tokens,
                max_queue_tokens=self.settings.max_queue_tokens,
                metrics=self._metrics,
            )
            service = EmbeddingService(
                encoder, await stack.enter_async_context(batcher), self._metrics
            )
            # The first batch sets up threads and buffers; no caller should wait for that.
            await service.encode(["warm-up"], "query", outputs=OUTPUTS)
        except Exception as error:  # noqa: BLE001 - `serve` ends with it
            self.lifecycle.fail(error)
            return
        self._service = service
        _log.info(
            "model loaded",
            model=encoder.info.id,
            fingerprint=encoder.info.fingerprint,
            precision=encoder.info.precision,
            seconds=round(time.monotonic() - began, 1),
        )
        if self._on_loaded is not None:
            self._on_loaded(encoder.info)


def node_of(request: Request) -> Node:
    """The node a request came to."""
    node = request.app.state.node
    assert isinstance(node, Node)  # noqa: S101 - set by `create_node_app` alone
    return node


def service_of(request: Request) -> EmbeddingService:
    """As a dependency of routes. Raises NotReady."""
    return node_of(request).service


async def _in_daemon(work: Callable[[], T]) -> T:
    """Run in a thread that does not hold up the process's end, as a pool's would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # pyright: ignore[reportArgumentType] - a T without an error

    def run() -> None:
        try:
            outcome: tuple[T | None, Exception | None] = (work(), None)
        except Exception as error:  # noqa: BLE001 - travels to whoever awaits
            outcome = (None, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="m3-load", daemon=True).start()
    return await done
