"""Planned documents to rows: vectors as stored where the text is the same, else the model's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import anyio
from anyio import to_thread

from embedder.client import EmbedderClient
from ingest.planning import Work
from m3.types import Representation, text_hash
from store.contract import Collection, DocumentRows

REQUEST_TOKENS = 3584
"""A little under what the client sends at once, so that one call is one request."""
REQUEST_TEXTS = 256

_FIRST_REQUESTS = 2
MOST_REQUESTS = 16
_SWIFT_SECONDS = 2.0
_SLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """A document ready to be written; `reused` of its chunks have vectors that were stored."""

    work: Work
    rows: DocumentRows
    reused: int


class Embedder:
    """Rows for documents, by as many requests at once as the nodes answer within seconds.

    A node on a CPU may read a hundred tokens a second, a row of GPUs a million: too many
    requests wait until they time out, too few leave nodes idle.
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
        fresh: dict[str, Representation] = {}
        async with anyio.create_task_group() as requests:
            for part in _requests(missing):
                requests.start_soon(self._request, part, fresh)
        ...

    async def _request(self, texts: Sequence[str], fresh: dict[str, Representation]) -> None:
        ...


