"""Texts of many documents to requests that are full, and vectors back to whole documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from ingest.running.fleet import REQUEST_TEXTS, REQUEST_TOKENS
from ingest.running.planning import Work
from m3.types import Representation
from store.chunks import DocumentRows

_LINGER_SECONDS = 0.25
"""As long as texts wait for others to fill a request."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A document ready to be written; `reused` of its chunks have vectors that were stored."""

    work: Work
    rows: DocumentRows
    reused: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """A document of which some vectors are still to come."""

    work: Work
    vectors: dict[str, Representation]
    missing: set[str]
    reused: int

    def ready(self) -> Embedded:
        work = self.work
        rows = DocumentRows(
            document=work.document,
            content_hash=work.content_hash,
            chunks=[passage.chunk for passage in work.passages],
            embeddings=[self.vectors[passage.text] for passage in work.passages],
        )
        return Embedded(work, rows, self.reused)


@dataclass(slots=True)
class Packer:
    """What waits between planning and requests. A text that many wait for is asked for once."""

    _texts: dict[str, int] = field(default_factory=dict[str, int])
    """Those that nobody has asked for yet, with their tokens."""
    _tokens: int = 0
    _awaited: dict[str, list[_Waiting]] = field(default_factory=dict[str, list[_Waiting]])
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _ended: bool = False

    def add(self, work: Work, stored: Mapping[str, Representation]) -> Embedded | None:
        """Take a document on; it is returned where all its vectors are stored already."""
        texts = {passage.text: passage.tokens for passage in work.passages}
        vectors = {text: stored[text] for text in texts if text in stored}
        reused = sum(passage.text in vectors for passage in work.passages)
        waiting = _Waiting(work, vectors, texts.keys() - vectors.keys(), reused)
        if not waiting.missing:
            return waiting.ready()
        was_empty = not self._texts
        for text, tokens in texts.items():
            if text not in vectors:
                self._want(text, tokens, waiting)
        if was_empty or self._full():
            self._tell()
        return None

    def _want(self, text: str, tokens: int, waiting: _Waiting) -> None:
        if text not in self._awaited:
            self._awaited[text] = []
            self._texts[text] = tokens
            self._tokens += tokens
        self._awaited[text].append(waiting)

    def end(self) -> None:
        """Nothing comes any more."""
        self._ended = True
        self._tell()

    async def take(self) -> dict[str, int] | None:
        """The next request's texts with their tokens, as full as it gets; None at the end."""
        while not (self._full() or self._ended):
            self._changed = anyio.Event()
            with anyio.move_on_after(_LINGER_SECONDS if self._texts else None) as late:
                await self._changed.wait()
            # What waited may have been given up meanwhile.
            if late.cancelled_caught and self._texts:
                break
        return self._cut() if self._texts else None

    def arrived(self, vectors: Mapping[str, Representation]) -> list[Embedded]:
        """Documents that wait for nothing more."""
        ready: list[Embedded] = []
        for text, vector in vectors.items():
            for waiting in self._awaited.pop(text, ()):
                waiting.vectors[text] = vector
                waiting.missing.discard(text)
                if not waiting.missing:
                    ready.append(waiting.ready())
        return ready

    def given_up(self, text: str) -> list[Work]:
        """Documents that will not be ready, as the model does not read this text of theirs."""
        lost = {id(waiting): waiting for waiting in self._awaited.pop(text, ())}
        for other, all_waiting in list(self._awaited.items()):
            kept = [waiting for waiting in all_waiting if id(waiting) not in lost]
            if kept:
                self._awaited[other] = kept
            else:
                self._forget(other)
        return [waiting.work for waiting in lost.values()]

    def _forget(self, text: str) -> None:
        del self._awaited[text]
        self._tokens -= self._texts.pop(text, 0)

    def _full(self) -> bool:
        return self._tokens >= REQUEST_TOKENS or len(self._texts) >= REQUEST_TEXTS

    def _tell(self) -> None:
        self._changed.set()

    def _cut(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        total = 0
        for text, tokens in self._texts.items():
            if taken and (total + tokens > REQUEST_TOKENS or len(taken) == REQUEST_TEXTS):
                break
            taken[text] = tokens
            total += tokens
        for text in taken:
            del self._texts[text]
        self._tokens -= total
        return taken
