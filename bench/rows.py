"""`candidates()` with rows read from the table, read and kept, and found in memory."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Result, interleaved, timed
from m3.codec import encode_tokens
from m3.settings import Settings, load_settings
from m3.types import Chunk, Codec, Document, Representation
from store.contract import Collection, CollectionSpec, DocumentRows, Leg
from store.index.engine import Engine
from store.opening import open_store

_DIMENSION, _TERMS, _VOCABULARY = 1024, 60, 30_000
_AT_ONCE = 500
_DEPTH = 100
_QUERIES = 5
"""Few, so that all rows they find are kept."""
_LEGS: tuple[Leg, ...] = ("dense", "sparse")
_NAME = "rows"
_BUDGETS = {"nothing is kept": 0, "cold": 1, "warm": 2**30}
"""Bytes. With one, every row is read, copied to be kept, and dropped again."""


def run(rows: int = 20_000, tokens: int = 60, repeats: int = 40) -> Result:
    """Milliseconds of a look that is 100 deep in each leg, in turn.

    Args:
        rows: chunks in the collection.
        tokens: of each.
        repeats: searches of each kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=Path(folder))
        try:
            figures = _figures(settings, rows, tokens, repeats)
        finally:
            Engine.of(settings).stop()
    facts = {"rows": rows, "tokens": tokens, "dimension": _DIMENSION, "depth": _DEPTH}
    return Result("rows", figures, facts)


def _figures(settings: Settings, rows: int, tokens: int, repeats: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    stores = {
        what: open_store(settings.model_copy(update={"row_cache_bytes": budget}))
        for what, budget in _BUDGETS.items()
    }
    try:
        spec = CollectionSpec("random", "0", "fp32", _DIMENSION)
        _fill(stores["nothing is kept"].create(_NAME, spec), rows, tokens)
        asked = [_representation(rng, 8, Codec.FP32) for _ in range(_QUERIES)]
        looks = {
            what: timed(_each_query(store.open(_NAME), asked)) for what, store in stores.items()
        }
        timings = interleaved(looks, repeats=repeats, warmups=_QUERIES)
        return [
            {
                "what": each.name,
                "ms": round(1000 * each.median_wall, 1),
                "cpu_ms": round(1000 * each.median_cpu, 1),
            }
            for each in timings
        ]
    finally:
        for store in stores.values():
            store.close()


def _each_query(collection: Collection, asked: list[Representation]) -> Callable[[], object]:
    queries = itertools.cycle(asked)
    return lambda: collection.candidates(next(queries), legs=_LEGS, depth=_DEPTH, tenant="default")


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
