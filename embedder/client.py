"""The embedder over HTTP: what everyone but the node itself uses. Imports no model library."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson

from embedder.transport import Load, OnLoad, Transport, unreachable
from m3.calling import members
from m3.codec import MEDIA_TYPE, from_bytes
from m3.errors import EmbedderUnreachable, InvalidInput, ModelMismatch
from m3.settings import Settings
from m3.types import OUTPUTS, Codec, EmbeddingBatch, Kind, ModelInfo, Output, batch_of

__all__ = ["EmbedderClient", "Load", "OnLoad"]

_REQUEST_TOKENS = 4096
"""Tokens of one request, so that a balancer that counts requests counts work."""
_REQUEST_TEXTS = 256
_BYTES_PER_TOKEN = 4
"""UTF-8 bytes of a token, roughly, in English and in Chinese alike."""
_CONCURRENCY = 4
_LOOK_SECONDS = 30.0
"""After which several URLs are asked for their models again."""


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

        Raises:
            InvalidInput: no URL, or what is no key; InvalidConfiguration: what is no URL.
        """
        if not urls:
            raise InvalidInput("an embedder client needs at least one URL (M3_EMBEDDER_URL)")
        self._urls = tuple(urls)
        self._transport = Transport(self._urls, timeout=timeout, api_key=api_key)
        self._models: dict[str, ModelInfo] = {}
        self._looked = 0.0
        self._look: asyncio.Task[Sequence[BaseException]] | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """With the settings' URLs, timeout and key."""
        timeout = settings.embedder_timeout
        return cls(settings.embedder_url, timeout=timeout, api_key=settings.client_key)

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
        if self._look is not None and self._look.cancel():
            await asyncio.wait([self._look])
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
        tokens: Sequence[int] | None = None,
        on_load: OnLoad | None = None,
    ) -> EmbeddingBatch:
        """The representations of n ≥ 1 texts, in their order.

        Many texts travel as several requests, some at a time. Texts longer than the model's
        limit or `max_length` are cut, and `truncated` says which.

        Args:
            codec: of passages; queries are always fp32.
            outputs: columns of others are empty.
            fingerprint: the model to use; unset, that of the first URL.
            tokens: of each text, where they are known; else they are estimated.
            on_load: told what every answer says of its node's load, refusals included.

        Raises:
            InvalidInput: no text, an empty one, or a length the model does not have.
            ModelMismatch: no node serves that model.
            InvalidConfiguration: a node does not know the key.
            EmbedderUnreachable: no node answers.
            Overloaded: the nodes stayed full for as long as the timeout.
        """
        if not texts:
            raise InvalidInput("there is no text to encode")
        gate = asyncio.Semaphore(_CONCURRENCY)

        async def part(start: int, stop: int) -> EmbeddingBatch:
            body: dict[str, Any] = {
                "input": list(texts[start:stop]),
                "kind": kind,
                "outputs": list(outputs),
                "max_length": max_length,
            }
            async with gate:
                return await self._encode(body, codec, fingerprint, start, on_load)

        spans = _spans(_estimates(texts) if tokens is None else tokens, max_length)
        if len(spans) == 1:
            return await part(*spans[0])
        try:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(part(*span)) for span in spans]
        except BaseExceptionGroup as failed:
            # The first failure cancelled the rest; callers expect it bare.
            raise failed.exceptions[0] from failed
        return _joined([part.result() for part in parts])

    async def model(self, fingerprint: str | None = None) -> ModelInfo:
        """The model of that fingerprint; unset, that of the first URL that answers.

        Raises:
            ModelMismatch: no node serves it.
            EmbedderUnreachable: no node answers.
        """
        if fingerprint is None and len(self._urls) == 1:
            return await self._ask(self._urls[0])
        nodes = await self._nodes(fingerprint)
        return self._models[nodes[0]]

    async def tokenizer(self, fingerprint: str | None = None) -> str:
        """That model's tokenizer, for `tokenizers.Tokenizer.from_str`. Raises as `model`."""
        answer = await self._transport.send("GET", await self._nodes(fingerprint), "/v1/tokenizer")
        return answer.text

    async def rerank(self, body: Mapping[str, Any]) -> bytes:
        """`POST /v1/rerank` of the first URL's model: the answer's JSON as the node wrote it.

        Raises:
            InvalidInput: what the node refuses; and as `encode`.
        """
        headers = {"Content-Type": "application/json"}
        content, nodes = orjson.dumps(body), await self._nodes(None)
        answer = await self._transport.send(
            "POST", nodes, "/v1/rerank", content=content, headers=headers
        )
        return answer.content

    async def _encode(
        self,
        body: dict[str, Any],
        codec: Codec,
        fingerprint: str | None,
        offset: int,
        on_load: OnLoad | None,
    ) -> EmbeddingBatch:
        """One request, to a node of that model even if the nodes' models have just changed."""
        headers = {"Content-Type": "application/json", "Accept": f"{MEDIA_TYPE};codec={codec}"}
        content = _body(body, offset)
        for known in (True, False):
            nodes = await self._nodes(fingerprint, known=known)
            try:
                answer = await self._transport.send(
                    "POST", nodes, "/v1/encode", content=content, headers=headers, on_load=on_load
                )
            except InvalidInput as error:
                raise type(error)(_renumbered(error.message, offset)) from error
            except EmbedderUnreachable:
                if known and len(nodes) < len(self._urls):
                    continue
                raise
            batch = from_bytes(answer.content)
            if fingerprint in (None, batch.fingerprint):
                return batch
        raise ModelMismatch(f"the embedder changed its model: {fingerprint} is not served any more")

    async def _nodes(self, fingerprint: str | None, *, known: bool = True) -> list[str]:
        """The URLs that serve a model, by what is known of them, or asked of them all."""
        if fingerprint is None and len(self._urls) == 1:
            return list(self._urls)
        if known and (nodes := self._serving(fingerprint)):
            self._look_again()
            return nodes
        silent = await self._discover()
        if nodes := self._serving(fingerprint):
            return nodes
        if silent:
            # One of those may serve it.
            raise silent[0]
        served = ", ".join(sorted({f"{m.id} ({m.fingerprint})" for m in self._models.values()}))
        raise ModelMismatch(
            f"no embedder serves the model {fingerprint}; there is {served}: "
            "start a node with that model and add its URL to M3_EMBEDDER_URL"
        )

    def _serving(self, fingerprint: str | None) -> list[str]:
        known = [(url, self._models[url].fingerprint) for url in self._urls if url in self._models]
        wanted = fingerprint or (known[0][1] if known else None)
        return [url for url, found in known if found == wanted]

    def _look_again(self) -> None:
        """Find nodes that were away or have changed their model, while nobody waits for that."""
        if len(self._urls) == 1 or time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._discover())

    async def _discover(self) -> Sequence[BaseException]:
        """Ask every URL for its model; returns why some did not say."""
        asked = await asyncio.gather(*map(self._ask, self._urls), return_exceptions=True)
        found = zip(self._urls, asked, strict=True)
        # In one piece: other tasks choose their nodes meanwhile.
        self._models = {url: model for url, model in found if isinstance(model, ModelInfo)}
        self._looked = time.monotonic()
        return [error for error in asked if isinstance(error, BaseException)]

    async def _ask(self, url: str) -> ModelInfo:
        answer = await self._transport.send("GET", [url], "/v1/models")
        try:
            listed = members(answer.content)["data"][0]
            return ModelInfo(**{name: listed[name] for name in ModelInfo.__slots__})
        except (KeyError, IndexError, TypeError) as error:
            raise unreachable(url, "its /v1/models is another server's") from error


def _estimates(texts: Sequence[str]) -> list[int]:
    return [len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN + 2 for text in texts]


def _spans(lengths: Sequence[int], max_length: int | None) -> list[tuple[int, int]]:
    """Runs of texts of about `_REQUEST_TOKENS` each, or of one longer text."""
    spans: list[tuple[int, int]] = []
    start, tokens = 0, 0
    for i, length in enumerate(lengths):
        read = min(length, max_length or length)
        if i > start and (tokens + read > _REQUEST_TOKENS or i - start == _REQUEST_TEXTS):
            spans.append((start, i))
            start, tokens = i, 0
        tokens += read
    spans.append((start, len(lengths)))
    return spans


def _body(body: dict[str, Any], offset: int) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        for index, text in enumerate(body["input"]):
            if not isinstance(text, str) or (not text.isascii() and not _is_utf8(text)):
                raise InvalidInput(f"input[{offset + index}]: not a valid text") from error
        raise


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _renumbered(message: str, offset: int) -> str:
    """A node counts the items of its request; the caller counts those of the call."""
    return re.sub(
        r"^input\[(\d+)\]", lambda found: f"input[{int(found[1]) + offset}]", message, count=1
    )


def _joined(parts: Sequence[EmbeddingBatch]) -> EmbeddingBatch:
    if len({part.fingerprint for part in parts}) > 1:
        raise ModelMismatch("the embedder changed its model during the call: try again")
    return batch_of(
        [row for part in parts for row in part],
        tokens=np.concatenate([part.tokens for part in parts]),
        truncated=np.concatenate([part.truncated for part in parts]),
        model=parts[0].model,
        fingerprint=parts[0].fingerprint,
    )
