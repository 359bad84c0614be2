"""Texts to vectors: those that are stored already, and else the model's, whatever nodes do."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread

from embedder.client import EmbedderClient
from ingest.pooling import all_pooled
from ingest.running.fleet import Fleet, Leave
from ingest.running.planning import Work
from m3 import tracing
from m3.errors import (
    EmbedderUnreachable,
    InvalidInput,
    M3Error,
    NotComputed,
    Overloaded,
    Unreachable,
    WorkerLost,
)
from m3.types import EmbeddingBatch, Representation, text_hash
from store.contract import Collection
from store.spec import CollectionSpec

T = TypeVar("T")
OnNote = Callable[[str], None]

_PAUSE_SECONDS = 1.0
_FAILURES = (NotComputed, WorkerLost)
"""A text's own fault, unless its node fails at any text."""
_REFUSALS = (InvalidInput, *_FAILURES)
"""Of one text, whoever is asked."""
_HARMLESS = "text"


@dataclass(slots=True)
class Answers:
    """By text: its vectors, or why the model refuses it."""

    vectors: dict[str, Representation] = field(default_factory=dict[str, Representation])
    refused: dict[str, M3Error] = field(default_factory=dict[str, M3Error])


class Patience:
    """Waits for nodes that are away or stay full: a request that fails is sent again for so long.

    Args:
        seconds: from a request's first failure on.
        on_note: told once when waiting begins, and once when it is over.
    """

    def __init__(self, seconds: float, on_note: OnNote) -> None:
        self._seconds = seconds
        self._on_note = on_note
        self._waiting = False

    async def answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns at last. Raises what it raised, once it has been too long."""
        deadline: float | None = None
        while True:
            try:
                answer = await ask()
            except (Unreachable, Overloaded) as error:
                now = time.monotonic()
                deadline = now + self._seconds if deadline is None else deadline
                if now >= deadline:
                    raise
                self._note(waiting=True, words=self._words(error))
                await anyio.sleep(min(_PAUSE_SECONDS, deadline - now))
            else:
                self._note(waiting=False, words="the embedder answers again")
                return answer

    def _words(self, error: M3Error) -> str:
        return f"waiting for the embedder, {self._seconds / 60:.3g} minutes at most: {error}"

    def _note(self, *, waiting: bool, words: str) -> None:
        if waiting != self._waiting:
            self._waiting = waiting
            self._on_note(words)


class Embedder:
    """Requests to the nodes that serve one model."""

    def __init__(
        self, client: EmbedderClient, spec: CollectionSpec, fleet: Fleet, patience: Patience
    ) -> None:
        self._client = client
        self._spec = spec
        self._fleet = fleet
        self._patience = patience

    async def embed(self, texts: Mapping[str, int], leave: Leave) -> Answers:
        """One request, or several where a text is refused: it alone is.

        Args:
            texts: each with its tokens.

        Raises:
            M3Error: no node answers, or none of that model.
        """
        answers = Answers()
        left = [list(texts)]
        while left:
            some = left.pop()
            try:
                batch = await self._patience.answer(partial(self._fairly, some, texts, leave))
            except _REFUSALS as error:
                if (place := _refused(some, error)) is None:
                    middle = len(some) // 2
                    left += [some[:middle], some[middle:]]
                    continue
                answers.refused[some.pop(place)] = error
                left += [some] if some else []
            else:
                answers.vectors.update(await self._kept(dict(zip(some, batch, strict=True))))
        return answers

    async def _kept(self, vectors: Mapping[str, Representation]) -> Mapping[str, Representation]:
        """As the collection keeps them; clustering is work for a thread."""
        if self._spec.pooling == 1:
            return vectors
        return await to_thread.run_sync(all_pooled, vectors, self._spec.pooling)

    async def _fairly(
        self, some: Sequence[str], tokens: Mapping[str, int], leave: Leave
    ) -> EmbeddingBatch:
        """As `_ask`; a node that fails at any text is as good as away, and its texts are not lost.

        Raises:
            EmbedderUnreachable: it fails at a harmless text too.
        """
        try:
            return await self._ask(some, tokens, leave)
        except _FAILURES as error:
            if _refused(some, error) is None:
                raise
            harmless = partial(self._ask, [_HARMLESS], {_HARMLESS: 3}, leave)
            try:
                await self._patience.answer(harmless)
            except _FAILURES as fault:
                raise EmbedderUnreachable(
                    f"the embedder computes nothing, see its node's log: {fault}"
                ) from error
            except (Unreachable, Overloaded):
                # As where the text has just ended the node's workers: it is not sent once more.
                raise error from None
            raise

    async def _ask(
        self, some: Sequence[str], tokens: Mapping[str, int], leave: Leave
    ) -> EmbeddingBatch:
        lengths = [tokens[text] for text in some]
        told = {"m3.texts": len(some), "m3.tokens": sum(lengths)}
        with tracing.span("ingest.embed", told):
            return await self._client.encode(
                some,
                "passage",
                codec=self._spec.codec,
                fingerprint=self._spec.fingerprint,
                tokens=lengths,
                on_load=partial(self._fleet.told, leave),
            )


def _refused(texts: Sequence[str], error: M3Error) -> int | None:
    """Which of the texts it is, where that is known."""
    found = re.match(r"input\[(\d+)\]", error.message)
    if found and int(found[1]) < len(texts):
        return int(found[1])
    return None if len(texts) > 1 else 0


def stored_vectors(
    works: Sequence[Work], collection: Collection, spec: CollectionSpec
) -> dict[str, Representation]:
    """Vectors of these documents' older versions, by the passages that they fit now. Blocks."""
    changed = [work for work in works if work.stored]
    if not changed:
        return {}
    known = collection.embeddings_by_text([work.document.key for work in changed])
    context = spec.chunking.context
    # The store names a text by its context in full, whatever of it the model was given.
    names = (
        (passage.text, text_hash(passage.chunk.model_text(work.document.title, context)))
        for work in changed
        for passage in work.passages
    )
    return {text: known[name] for text, name in names if name in known}
