"""A table of chunks with random token vectors, to read from as a search does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3.codec import encode_tokens
from m3.types import F32, U8, Chunk, Codec, Document, EmbeddingBatch, Representation
from store.chunks import DocumentRows
from store.spec import CollectionSpec
from store.table.rows import EMBEDDING_COLUMNS, to_arrow, to_embeddings
from store.table.table import Table
from store.table.version import Version

_POOL = 40_000
"""Vectors that the chunks' tokens are drawn from: every chunk is another choice of them."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """A table's chunks in int8."""

    table: Table
    version: Version
    spec: CollectionSpec

    def drawn(self, count: int, seed: int) -> EmbeddingBatch:
        """Chunks at random, just read."""
        ids = np.random.default_rng(seed).choice(self.version.row_ids, count, replace=False)
        return to_embeddings(self.version.take(ids.tolist(), EMBEDDING_COLUMNS), self.spec)


def unit_vectors(rng: np.random.Generator, count: int, dimension: int) -> F32:
    """[count, dimension] fp32, L2-normalised."""
    vectors = rng.standard_normal((count, dimension), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_chunks(
    folder: Path, count: int, tokens: int, dimension: int, *, at_once: int = 500
) -> Chunks:
    """A table in `folder` of `count` documents, each one chunk of `tokens` tokens.

    Args:
        at_once: documents a commit.
    """
    spec = CollectionSpec("random", "0", "fp32", dimension, Codec.INT8)
    table = Table(str(folder / "chunks.lance"))
    table.create(spec)
    rng = np.random.default_rng(0)
    pool = encode_tokens(unit_vectors(rng, _POOL, dimension), Codec.INT8)
    for first in range(0, count, at_once):
        rows = list(_rows(rng, pool, range(first, min(first + at_once, count)), tokens))
        table.replace(to_arrow(rows, spec), [row.document.key.digest() for row in rows])
    return Chunks(table, table.latest(), spec)


def _rows(
    rng: np.random.Generator, pool: U8, numbers: range, tokens: int
) -> Iterator[DocumentRows]:
    dense = np.zeros(pool.shape[1] - 4, np.float16)
    for number in numbers:
        embedding = Representation(
            dense=dense,
            sparse_ids=np.zeros(0, np.int32),
            sparse_weights=np.zeros(0, np.float32),
            token_ids=np.zeros(tokens, np.int32),
            codes=pool[rng.integers(0, len(pool), tokens)],
            codec=Codec.INT8,
        )
        yield DocumentRows(Document(str(number), ""), "", [Chunk(0, "", 0, 0)], [embedding])
