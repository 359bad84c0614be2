"""Planned documents to rows: vectors as stored where the text is the same, else the model's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import anyio
from anyio import to_thread

from embedder.client import EmbedderClient
from ingest.planning import Work
from ingest.tasks import together
from m3.types import Representation, text_hash
from store.contract import Collection, DocumentRows

REQUEST_TOKENS = 3584
"""A little under what the client takes for one request, so that a call is one."""
REQUEST_TEXTS = 256
MOST_REQUESTS = 16

_FIRST_REQUESTS = 2
_SWIFT_SECONDS = 2.0
_SLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """A document ready to be written; `reused` of its chunks have vectors that were stored."""

    work: Work
    rows: DocumentRows
    reused: int


class Embedder:
    """Documents to rows, by as many requests at once as the nodes answer within seconds.

    A CPU may read a hundred tokens a second, a row of GPUs a million: too many requests
    wait for each other until they time out, too few leave nodes idle.
    """

    def __init__(self, collection: Collection, client: EmbedderClient) -> None:
        self._collection = collection
        self._client = client
        self._gate = anyio.CapacityLimiter(_FIRST_REQUESTS)

    async def embed(self, works: Sequence[Work]) -> tuple[list[Embedded], int]:
        """Rows of these documents, and how many tokens the model read for them.

        Equal texts are read once.

        Raises:
            InvalidInput: the model refuses a text of one of them.
        """
        stored: dict[str, Representation] = {}
        for work in works:
            if work.stored:
                stored |= await to_thread.run_sync(_stored, work, self._collection)
        texts = {passage.text: passage.tokens for work in works for passage in work.passages}
        missing = {text: tokens for text, tokens in texts.items() if text not in stored}
        vectors = dict(stored)
        async with together() as requests:
            for part in _requests(missing):
                requests.start_soon(self._request, part, vectors)
        rows = [_embedded(work, vectors, frozenset(stored)) for work in works]
        return rows, sum(missing.values())

    async def _request(self, texts: Sequence[str], vectors: dict[str, Representation]) -> None:
        spec = self._collection.spec
        async with self._gate:
            started = time.monotonic()
            batch = await self._client.encode(
                texts, "passage", codec=spec.codec, fingerprint=spec.fingerprint
            )
        self._adapt(time.monotonic() - started)
        vectors.update(zip(texts, batch, strict=True))

    def _adapt(self, seconds: float) -> None:
        if seconds < _SWIFT_SECONDS:
            self._gate.total_tokens = min(self._gate.total_tokens + 1, MOST_REQUESTS)
        elif seconds > _SLOW_SECONDS:
            self._gate.total_tokens = max(self._gate.total_tokens - 1, 1)


def _requests(texts: Mapping[str, int]) -> Iterator[list[str]]:
    """The texts, by their tokens, in runs that are a request each."""
    request: list[str] = []
    total = 0
    for text, tokens in texts.items():
        if request and (total + tokens > REQUEST_TOKENS or len(request) == REQUEST_TEXTS):
            yield request
            request, total = [], 0
        request.append(text)
        total += tokens
    if request:
        yield request


def _stored(work: Work, collection: Collection) -> dict[str, Representation]:
    """Vectors of the document's older version, by the passage they fit now."""
    known = collection.embeddings_by_text(work.document.key)
    context = collection.spec.chunking.context
    # The store names a text by its context in full, whatever of it the model was given.
    names = (
        (passage.text, text_hash(passage.chunk.model_text(work.document.title, context)))
        for passage in work.passages
    )
    return {text: known[name] for text, name in names if name in known}


def _embedded(
    work: Work, vectors: Mapping[str, Representation], stored: frozenset[str]
) -> Embedded:
    rows = DocumentRows(
        document=work.document,
        content_hash=work.content_hash,
        chunks=[passage.chunk for passage in work.passages],
        embeddings=[vectors[passage.text] for passage in work.passages],
    )
    return Embedded(work, rows, sum(passage.text in stored for passage in work.passages))
