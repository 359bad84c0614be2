"""What one tenant pays in the embedded Milvus where it shares a collection: a condition."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.measure import Result, interleaved, timed
from m3.settings import load_settings
from m3.types import Codec, Representation
from store.candidates import Leg
from store.index.engine import Engine
from store.index.index import Index
from store.index.milvus import Milvus
from store.spec import CollectionSpec
from store.table.rows import INDEX_COLUMNS, ROW_ID, schema

_ROWS, _DIMENSION, _TERMS, _VOCABULARY = 20_000, 256, 60, 30_000
_AT_ONCE = 1_000
_SEARCHES, _DEPTH = 60, 100
_LEGS: Sequence[Leg] = ("dense", "sparse")

_SPECS = {
    "shared": CollectionSpec("random", "0", "fp32", _DIMENSION),
    "own": CollectionSpec("random", "0", "fp32", _DIMENSION, owner="t0"),
}


def run() -> Result:
    """Rows a second that are written, and milliseconds a search takes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=Path(folder))
        milvus = Milvus.of(settings)
        try:
            figures = _figures(milvus)
        finally:
            milvus.close()
            Engine.of(settings).stop()
    return Result("tenancy", figures, {"rows": _ROWS, "dimension": _DIMENSION, "depth": _DEPTH})


def _figures(milvus: Milvus) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    indexes = {what: Index(milvus, what, spec) for what, spec in _SPECS.items()}
    for index in indexes.values():
        index.create()
    rows = _rows(rng)
    writes = {what: timed(_each_part(index, rows)) for what, index in indexes.items()}
    writing = interleaved(writes, repeats=_ROWS // _AT_ONCE, warmups=0)
    asked = [_query(rng) for _ in range(_SEARCHES + 1)]
    searching = {
        leg: interleaved(
            {what: timed(_each_query(index, leg, asked)) for what, index in indexes.items()},
            repeats=_SEARCHES,
        )
        for leg in _LEGS
    }
    return [
        {
            "what": what,
            "rows/s": _AT_ONCE / writing[i].median_wall,
            **{f"{leg} ms": searching[leg][i].median_wall * 1e3 for leg in _LEGS},
        }
        for i, what in enumerate(indexes)
    ]


def _each_part(index: Index, rows: pa.Table) -> Callable[[], None]:
    """Writes the next rows each time it is called."""
    firsts = iter(range(0, _ROWS, _AT_ONCE))
    return lambda: index.upsert(rows.slice(next(firsts), _AT_ONCE))


def _each_query(index: Index, leg: Leg, asked: list[Representation]) -> Callable[[], list[int]]:
    queries = itertools.cycle(asked)
    search = partial(index.search, leg, depth=_DEPTH, tenant="t0", expression=None)
    return lambda: search(next(queries))


def _rows(rng: np.random.Generator) -> pa.Table:
    queries = [_query(rng) for _ in range(_ROWS)]
    columns = {
        "tenant": ["t0"] * _ROWS,
        "metadata": ["{}"] * _ROWS,
        "dense": [query.dense.astype(np.float16) for query in queries],
        "sparse_ids": [query.sparse_ids for query in queries],
        "sparse_weights": [query.sparse_weights for query in queries],
    }
    types: Any = schema(_SPECS["shared"])
    kept = pa.schema([types.field(name) for name in INDEX_COLUMNS])
    return pa.table(columns, schema=kept).append_column(ROW_ID, pa.array(range(_ROWS), pa.int64()))


def _query(rng: np.random.Generator) -> Representation:
    dense = rng.standard_normal(_DIMENSION)
    ids = np.unique(rng.integers(5, _VOCABULARY, _TERMS)).astype(np.int32)
    return Representation(
        dense=(dense / np.linalg.norm(dense)).astype(np.float32),
        sparse_ids=ids,
        sparse_weights=(rng.random(len(ids)) + 0.01).astype(np.float32),
        token_ids=np.empty(0, np.int32),
        codes=np.empty((0, _DIMENSION), np.uint8),
        codec=Codec.FP32,
    )
