"""The embedder over HTTP: what everyone but the node itself uses. Imports no model library."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx
import numpy as np
import orjson

from embedder.transport import Transport
from m3.codec import MEDIA_TYPE, from_bytes
from m3.errors import EmbedderUnreachable, InvalidInput, ModelMismatch
from m3.settings import Settings
from m3.types import OUTPUTS, Codec, EmbeddingBatch, Kind, ModelInfo, Output, batch_of

_REQUEST_TOKENS = 4096
"""Estimated tokens of one request, so that a balancer that counts requests counts work."""
_REQUEST_TEXTS = 256
_BYTES_PER_TOKEN = 4
"""UTF-8 bytes a token has, roughly, in English and in Chinese alike."""
_CONCURRENCY = 4


class EmbedderClient:
    """One or more nodes, or their balancers, that may serve different models.

    Safe for many tasks of one event loop at once.
    """

    def __init__(
        self, urls: Sequence[str], *, timeout: float = 120.0, api_key: str | None = None
    ) -> None:
        """Nothing is sent yet.

        Args:
            timeout: seconds for one request, its retries included.
            api_key: sent as `Authorization: Bearer`.
        """
        if not urls:
            raise InvalidInput("an embedder client needs at least one URL (M3_EMBEDDER_URL)")
        self._urls = tuple(urls)
        self._transport = Transport(timeout=timeout, api_key=api_key)
        self._models: dict[str, ModelInfo] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """With the settings' URLs, timeout and key."""
        key = settings.api_key.get_secret_value() if settings.api_key else None
        return cls(settings.embedder_url, timeout=settings.embedder_timeout, api_key=key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def encode(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        codec: Codec = Codec.INT8,
        outputs: Sequence[Output] = OUTPUTS,
        max_length: int | None = None,
        fingerprint: str | None = None,
    ) -> EmbeddingBatch:
        """The representations of n ≥ 1 texts, in their order.

        Many texts travel as several requests, some at a time. Texts longer than the model
        or `max_length` are cut, and `truncated` says which.

        Args:
            codec: of passages; queries are always fp32.
            outputs: columns of others are empty.
            fingerprint: the model that must have made the vectors; any, unless given.

        Raises:
            InvalidInput: no texts, an empty one, or a length the model does not have.
            ModelMismatch: no node serves that model.
            EmbedderUnreachable: no node answers.
            Overloaded: nodes stayed full for as long as `timeout`.
        """
        if not texts:
            raise InvalidInput("there is no text to encode")
        urls = await self._urls_of(fingerprint)
        gate = asyncio.Semaphore(_CONCURRENCY)

        async def part(start: int, stop: int) -> EmbeddingBatch:
            body = {"input": list(texts[start:stop]), "kind": kind, "outputs": list(outputs)}
            if max_length is not None:
                body["max_length"] = max_length
            async with gate:
                return await self._encode(urls, body, codec, start)

        spans = _spans(texts, max_length)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part(*span)) for span in spans]
        return self._joined([task.result() for task in tasks], fingerprint)

    async def model(self, fingerprint: str | None = None) -> ModelInfo:
        """The model of that fingerprint, or of the first node that answers."""
        urls = await self._urls_of(fingerprint)
        return self._models.get(urls[0]) or await self._ask_model(urls[0])
