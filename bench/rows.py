"""Looks with rows from the table, read and kept, and from memory; whole, and in two stages."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, cast
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import typer

from bench.measure import Result, interleaved, timed
from embedder.client import EmbedderClient
from m3.codec import encode_tokens
from m3.settings import Settings, load_settings
from m3.types import Chunk, Codec, Document, EmbeddingBatch, Representation, batch_of
from search.collections import Collections
from search.degrade import Budget
from search.looking import Looker
from search.request import SearchRequest
from serving.memory import keep_large_buffers
from store.chunks import DocumentRows
from store.contract import Collection, Store
from store.index.engine import Engine
from store.opening import open_store
from store.spec import CollectionSpec
from store.table.version import Version

_DIMENSION, _TERMS, _VOCABULARY = 1024, 60, 30_000
_AT_ONCE = 500
_DEPTH = 100
_STAGE = 50
_QUERIES = 5
"""Few, so that all rows they find are kept."""
_NAME = "rows"
_BUDGETS = {"nothing is kept": 0, "cold": 1, "warm": 2**30}
"""Bytes. With one, every row is read, copied to be kept, and dropped again."""
_STAGES = {"": None, f", of which ColBERT scores {_STAGE}": _STAGE}


def run(
    *,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps the collection, and has it next time.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Chunks in the collection.")] = 20_000,
    tokens: Annotated[int, typer.Option(help="Of a chunk.")] = 60,
    query_tokens: int = 15,
    repeats: Annotated[int, typer.Option(help="Of each kind of look.")] = 40,
) -> Result:
    """Milliseconds of a look that is 100 deep in each leg, scores included, in turn."""
    keep_large_buffers()
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        settings = load_settings(home=Path(place))
        try:
            figures = _figures(settings, rows, tokens, _queries(query_tokens), repeats)
        finally:
            Engine.of(settings).stop()
    facts = {"rows": rows, "tokens": tokens, "dimension": _DIMENSION, "depth": _DEPTH}
    return Result("rows", figures, {**facts, "query tokens": query_tokens})


def _figures(
    settings: Settings,
    rows: int,
    tokens: int,
    asked: Mapping[str, Representation],
    repeats: int,
) -> list[dict[str, Any]]:
    stores = {
        what: open_store(settings.model_copy(update={"row_cache_bytes": budget}))
        for what, budget in _BUDGETS.items()
    }
    loop = asyncio.new_event_loop()
    try:
        first = stores["nothing is kept"]
        if _NAME not in first.names():
            made = first.create(_NAME, CollectionSpec("random", "0", "fp32", _DIMENSION))
            _fill(made, rows, tokens)
        looks = {
            what + also: _looks(loop, store, asked, depth)
            for what, store in stores.items()
            for also, depth in _STAGES.items()
        }
        read = {what: _megabytes(look) for what, look in looks.items()}
        timings = interleaved(
            {what: timed(look) for what, look in looks.items()}, repeats=repeats, warmups=_QUERIES
        )
        return [
            {
                "what": each.name,
                "ms": round(1000 * each.median_wall, 1),
                "cpu_ms": round(1000 * each.median_cpu, 1),
                "MB read": round(read[each.name], 1),
            }
            for each in timings
        ]
    finally:
        loop.close()
        for store in stores.values():
            store.close()


class _Known:
    """What a client is to a look: it knows the queries' vectors."""

    def __init__(self, asked: Mapping[str, Representation]) -> None:
        self._asked = asked

    async def encode(self, texts: Sequence[str], *_: object, **__: object) -> EmbeddingBatch:
        return batch_of([self._asked[text] for text in texts])


def _queries(tokens: int) -> Mapping[str, Representation]:
    rng = np.random.default_rng(0)
    return {str(i): _representation(rng, tokens, Codec.FP32) for i in range(_QUERIES)}


def _looks(
    loop: asyncio.AbstractEventLoop,
    store: Store,
    asked: Mapping[str, Representation],
    stage: int | None,
) -> Callable[[], object]:
    """A look each time it is called, by the next query."""
    looker = Looker(Collections(store), cast(EmbedderClient, _Known(asked)))
    requests = itertools.cycle(
        [SearchRequest(text, _NAME, candidates=_DEPTH, rerank_depth=stage) for text in asked]
    )

    def look() -> object:
        request = next(requests)
        looking = looker.look(request, request.legs, Budget.of(None), lambda look: look)
        return loop.run_until_complete(looking)

    return look


def _megabytes(look: Callable[[], object]) -> float:
    """What a look reads of the table, once every query was asked before."""
    for _ in range(_QUERIES):
        look()
    with _noted() as sizes:
        for _ in range(_QUERIES):
            look()
    return sum(sizes) / _QUERIES / 1e6


@contextmanager
def _noted() -> Generator[list[int]]:
    """The bytes of all rows that are read from tables meanwhile."""
    sizes, take = list[int](), Version.take

    def noting(self: Version, row_ids: Sequence[int], columns: Sequence[str]) -> pa.Table:
        found = take(self, row_ids, columns)
        sizes.append(found.nbytes)
        return found

    with patch.object(Version, "take", noting):
        yield sizes


def _fill(collection: Collection, rows: int, tokens: int) -> None:
    rng = np.random.default_rng(1)
    for first in range(0, rows, _AT_ONCE):
        collection.replace([_document(rng, first + i, tokens) for i in range(_AT_ONCE)])
    collection.settle()


def _document(rng: np.random.Generator, number: int, tokens: int) -> DocumentRows:
    text = f"document {number} " * (tokens // 3)
    document = Document(str(number), text)
    chunk = Chunk(0, text, 0, len(text))
    own = _representation(rng, tokens, Codec.INT8)
    return DocumentRows(document, document.content_hash(), [chunk], [own])


def _representation(rng: np.random.Generator, tokens: int, codec: Codec) -> Representation:
    vectors = rng.standard_normal((tokens, _DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    terms = np.sort(rng.choice(_VOCABULARY, _TERMS, replace=False)).astype(np.int32)
    return Representation(
        dense=vectors[0].astype(codec.dense_dtype),
        sparse_ids=terms,
        sparse_weights=rng.random(_TERMS, np.float32) + np.float32(0.01),
        token_ids=np.arange(tokens, dtype=np.int32),
        codes=encode_tokens(vectors, codec),
        codec=codec,
    )
