"""What each button of the page does: words in, HTML out. The node's own service does the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedder.api.node import Node
from embedder.page import drawing
from embedder.page.alignment import align
from embedder.page.scores import score, table
from embedder.page.status import status_of
from embedder.page.terms import by_weight, segments
from m3.errors import InvalidInput, M3Error, Unauthorized
from m3.types import OUTPUTS, EmbeddingBatch, Kind, Output
from scoring.fusion import Weights
from serving.keys.ring import KeyRing

MAX_QUERY = 2_000
"""Characters of a query."""
MAX_TEXT = 8_000
"""Characters of a passage, and of a text whose terms are weighed."""
MAX_PASSAGES = 32
MAX_ROWS = 48
"""Tokens of a query that a heat map has room for."""
MAX_COLUMNS = 160
"""Tokens of a passage that a heat map has room for."""
_SECONDS = 30.0
"""How long a person is let wait before being told that the node is too busy."""
_log = structlog.stdlib.get_logger("m3.page")
T = TypeVar("T")


class Scored(BaseModel):
    """What a browser keeps of a comparison, so that other weights cost no forward pass.

    Attributes:
        scores: dense, sparse, ColBERT of each passage.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    passages: list[Annotated[str, Field(max_length=MAX_TEXT)]] = Field(max_length=MAX_PASSAGES)
    scores: list[tuple[float, float, float]] = Field(max_length=MAX_PASSAGES)


class Desk:
    """Nothing of a call outlives it: the page has no sessions."""

    def __init__(self, node: Node, keys: KeyRing | None, began: float) -> None:
        """`keys`: those that open the page, if it asks for one; `began`: when the node did."""
        self._node = node
        self._keys = keys
        self._began = began

    async def compare(self, key: str, query: str, passages: str) -> tuple[str, Any]:
        """Score passages, one a line: what to tell, and a `Scored` as JSON, or None."""
        told, found = await _answer(self._compare(key, query, passages))
        return (told, None) if found is None else found

    async def rank(
        self,
        key: str,
        scored: Any,
        dense: float | None,
        sparse: float | None,
        colbert: float | None,
    ) -> str:
        """The table of a `Scored` for these weights; nothing where there is none."""
        if scored is None:
            return ""
        told, drawn = await _answer(self._rank(key, scored, (dense, sparse, colbert)))
        return told if drawn is None else drawn

    async def weigh(self, key: str, text: str) -> str:
        """The text with its terms' weights drawn on it."""
        told, drawn = await _answer(self._weigh(key, text))
        return told if drawn is None else drawn

    async def align(self, key: str, query: str, passage: str) -> str:
        """The heat map of two texts' tokens."""
        told, drawn = await _answer(self._align(key, query, passage))
        return told if drawn is None else drawn

    async def status(self, key: str) -> str:
        """The node's state."""
        told, drawn = await _answer(self._status(key))
        return told if drawn is None else drawn

    async def _rank(self, key: str, scored: Any, weights: Sequence[float | None]) -> str:
        self._admit(key)
        checked = Weights(*map(_checked_weight, weights))
        return await asyncio.to_thread(_ranked, scored, checked)

    async def _compare(self, key: str, query: str, passages: str) -> tuple[str, Any]:
        self._admit(key)
        query = _checked("the query", query, MAX_QUERY)
        lines = [line.strip() for line in passages.splitlines() if line.strip()]
        if not lines:
            raise InvalidInput("there are no passages: write one a line")
        if len(lines) > MAX_PASSAGES:
            raise InvalidInput(f"{len(lines)} passages; this page compares up to {MAX_PASSAGES}")
        for number, line in enumerate(lines, 1):
            _checked(f"passage {number}", line, MAX_TEXT)
        asked, found = await asyncio.gather(
            self._encode([query], "query"), self._encode(lines, "passage")
        )
        scores = await asyncio.to_thread(score, asked.row(0), found)
        cut = ["the query"] if asked.truncated[0] else []
        numbers = [i for i, is_cut in enumerate(found.truncated.tolist(), 1) if is_cut]
        if numbers:
            cut.append(f"passage{'s' * (len(numbers) > 1)} {_runs(numbers)}")
        limit = self._node.service.info.max_tokens
        told = [f"Of {name} the model reads the first {limit:,} tokens only." for name in cut]
        return drawing.notes(told), {"passages": lines, "scores": scores.tolist()}

    async def _weigh(self, key: str, text: str) -> str:
        self._admit(key)
        text = _checked("the text", text, MAX_TEXT)
        service = self._node.service
        tokenizer = service.tokenizer
        read = (await service.tokenize([text]))[0]
        row = (await self._encode([text], "passage", ("sparse",))).row(0)
        spans = await asyncio.to_thread(tokenizer.spans, text)
        ids, weights = row.sparse_ids.tolist(), row.sparse_weights.tolist()
        runs = segments(text, spans, read.ids[1:-1], dict(zip(ids, weights, strict=True)))
        cut = [f"The model reads the first {len(read.ids):,} tokens only."] * read.truncated
        return (
            drawing.notes(cut)
            + drawing.weighed_text(runs)
            + drawing.term_table(by_weight(tokenizer.pieces(ids), weights))
        )

    async def _align(self, key: str, query: str, passage: str) -> str:
        self._admit(key)
        query = _checked("the query", query, MAX_QUERY)
        passage = _checked("the passage", passage, MAX_TEXT)
        service = self._node.service
        lengths = [len(text.ids) for text in await service.tokenize([query, passage])]
        for name, length, limit in zip(
            ("query", "passage"), lengths, (MAX_ROWS, MAX_COLUMNS), strict=True
        ):
            if length > limit:
                raise InvalidInput(
                    f"the {name} has {length} tokens; the map has room for {limit}: shorten it"
                )
        asked, found = await asyncio.gather(
            self._encode([query], "query", ("colbert",)),
            self._encode([passage], "passage", ("colbert",)),
        )
        pieces = service.tokenizer.pieces
        aligned = await asyncio.to_thread(align, asked.row(0), found.row(0), pieces)
        return await asyncio.to_thread(drawing.heat_map, aligned)

    async def _status(self, key: str) -> str:
        self._admit(key)
        return drawing.status_table(status_of(self._node, time.monotonic() - self._began))

    def _admit(self, key: str) -> None:
        if self._keys is None:
            return
        try:
            self._keys.find(key.encode())
        except Unauthorized:
            raise Unauthorized("this node needs a key: type yours at the top of the page") from None

    async def _encode(
        self, texts: Sequence[str], kind: Kind, outputs: Sequence[Output] = OUTPUTS
    ) -> EmbeddingBatch:
        return await self._node.service.encode(texts, kind, outputs=outputs, timeout=_SECONDS)


async def _answer(work: Coroutine[Any, Any, T]) -> tuple[str, T | None]:
    """What to tell of work that failed, or its result."""
    try:
        return "", await work
    except M3Error as error:
        return drawing.alert(error.message), None
    except Exception:  # noqa: BLE001 - a page that says nothing helps nobody
        _log.exception("unexpected")
        return drawing.alert("this is a bug in m3-retrieval: the node's log has it"), None


def _checked(name: str, text: str, limit: int) -> str:
    """Raises InvalidInput for a text that is empty or longer than `limit` characters."""
    if not text.strip():
        raise InvalidInput(f"{name} is empty")
    if len(text) > limit:
        raise InvalidInput(
            f"{name} has {len(text):,} characters; this page takes {limit:,}: use the API"
        )
    return text


def _runs(numbers: Sequence[int]) -> str:
    """Ascending numbers, those that follow one another together: `1 to 3, 7`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join(" to ".join(map(str, run)) for run in found)


def _checked_weight(weight: float | None) -> float:
    """Raises InvalidInput for one that is missing, or that the page's sliders do not have."""
    if weight is None or not 0 <= weight <= 1:
        raise InvalidInput("a weight is a number from 0 to 1")
    return weight


def _ranked(scored: Any, weights: Weights) -> str:
    try:
        known = Scored.model_validate(scored)
    except ValidationError as error:
        raise InvalidInput("these are no scores of this page: compare again") from error
    if not 0 < len(known.passages) == len(known.scores):
        raise InvalidInput("these are no scores of this page: compare again")
    scores = np.array(known.scores, np.float32)
    return drawing.score_table(table(known.passages, scores, weights))
